"""Renews record keys before their certificates end, so that no token is asked while a decision waits.

    every minute: does a certificate end within `root.renew_before_s`? -> a child process rotates the key,
    with a certificate by the root -> workers hand over within a second

In: the settings, the key files. Out: gauges, log lines. Runs in the follower where there is a root. A token
that is away, hangs or crashes costs a try; workers go on with the key they have until its certificate has
really ended.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import structlog

from authz.config import Settings
from authz.errors import KeyUnusable
from authz.ledger import certificates
from authz.ledger.keyring import Keyring
from authz.telemetry.metrics import Gauge

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 60.0
MAX_SAID: Final = 1024  # bytes of what a child says that go into a log line


class Renewal:
    """`command` is the child's, without the key file; `rings` are those of the record keys."""

    def __init__(
        self,
        settings: Settings,
        rings: Sequence[Keyring],
        *,
        wall: Callable[[], float] = time.time,
        command: Sequence[str] = (sys.executable, "-m", "authz.custody.renew"),
    ) -> None:
        self._settings, self._rings, self._wall, self._command = settings, rings, wall, command
        self._every_s = min(LOOK_EVERY_S, settings.root.renew_before_s / 4)
        self.failures = self.renewals = 0
        self.fault = ""  # of the last try

    async def run(self, stop: asyncio.Event) -> None:
        """Look until `stop`."""
        while not stop.is_set():
            await self.round()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._every_s)

    async def round(self) -> None:
        """Renew what is due."""
        faults = [await self._renew(ring) for ring in self._rings if self._due(ring)]
        self.fault = next(filter(None, faults), "")

    def left_s(self, ring: Keyring) -> float:
        """Seconds until the certificate of the key in use ends; none is left where there is none."""
        text = ring.in_use().certificate
        if not text:
            return 0.0
        return certificates.moment(certificates.window(certificates.read(text))[1]) - self._wall()

    def _due(self, ring: Keyring) -> bool:
        try:
            return self.left_s(ring) < self._settings.root.renew_before_s
        except KeyUnusable:
            return True  # the child says why

    async def _renew(self, ring: Keyring) -> str:
        """What went wrong, "" if nothing did."""
        fault = await self._child(str(ring.path))
        if fault:
            self.failures += 1
            log.error("renewal_failed", key=str(ring.path), why=fault)
        else:
            self.renewals += 1
            log.info("record_key_renewed", key=str(ring.path))
        return fault

    async def _child(self, file: str) -> str:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            *self._command, file, stdin=pipe, stdout=asyncio.subprocess.DEVNULL, stderr=pipe
        )
        settings = self._settings.model_dump_json().encode()
        try:
            _, said = await asyncio.wait_for(child.communicate(settings), self._settings.root.timeout_s)
        except TimeoutError:
            return f"the token did not answer within {self._settings.root.timeout_s:g} s"
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode == 0:
            return ""
        lines = said[-MAX_SAID:].decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"ended with status {child.returncode}"

    def gauges(self) -> Iterator[Gauge]:
        for ring in self._rings:
            with suppress(KeyUnusable):
                left, names = self.left_s(ring), {"key": ring.path.name}
                yield (
                    "aegis_record_certificate_seconds",
                    "Until the certificate of the record key in use ends.",
                    left,
                    names,
                )
        yield "aegis_record_renewals_total", "Record keys renewed.", self.renewals, {}
        yield "aegis_record_renewal_failures_total", "Renewals that failed.", self.failures, {}
