"""Notes in the control log when the version that was activated cannot be taken by OPA.

    the pointer's version  != what OPA has active  ->  why, by OPA's status  ->  outbox: policy, action `fail`

In: the last activation, OPA's socket, the outbox. Out: one event for each activation that fails and each
reason, gauges. Runs in the follower where it can reach an OPA; while OPA has what it should, that costs OPA
one cheap question a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import structlog

from authz.config import Settings
from authz.errors import Denied, EvidenceUnavailable
from authz.ledger.outbox import Outbox
from authz.policy.activation import ASK_TIMEOUT_S, NOT_DOWNLOADED, Failure, read_failure
from authz.policy.engine import BUNDLES, STATUS
from authz.policy.engine_opa import OpaEngine
from authz.policy.manifest import split_revision
from authz.policy.naming import revision_of
from authz.policy.versions import Activation
from authz.telemetry.metrics import Gauge

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 1.0
WHO: Final = "follower"


class ActivationNotes:
    """Looks until `stop`. `awaited_s`: seconds since OPA had the version that is named; 0 when it has it, and
    while no OPA answers here: whoever asks it for decisions sees that.
    """

    def __init__(
        self,
        engine: OpaEngine,
        last: Callable[[], Activation | None],
        outbox: Outbox,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failure: Failure | None = None
        self.noted = 0
        self._engine, self._last, self._outbox = engine, last, outbox
        self._monotonic = monotonic
        self._named = self._active = self._noted = ""
        self._answers = False
        self._since = monotonic()  # the last moment at which OPA had what is named

    @property
    def awaited_s(self) -> float:
        waits = self._answers and self._named and self._named != self._active
        return self._monotonic() - self._since if waits else 0.0

    async def run(self, stop: asyncio.Event) -> None:
        try:
            while not stop.is_set():
                await self.look()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)
        finally:
            await self._engine.close()

    async def look(self) -> None:
        """Once. Neither an OPA that is away nor an outbox that is not well ends it."""
        named = self._last()
        self._named = named.revision if named else ""
        try:
            self._active = revision_of(await self._engine.get(BUNDLES, ASK_TIMEOUT_S))
            self._answers = True
            if self._named == self._active:
                self._since, self.failure = self._monotonic(), None
                return
            self.failure = read_failure(await self._engine.get(STATUS, ASK_TIMEOUT_S))
        except Denied:
            self._answers = False
            return
        if self.failure and self.failure.code != NOT_DOWNLOADED and named:
            try:
                await asyncio.to_thread(self._note, self.failure, named)
            except (EvidenceUnavailable, OSError) as error:  # tried again at the next look
                log.error("policy_failure_not_noted", error=str(error))  # noqa: TRY400 - where is in the text

    def _note(self, failure: Failure, named: Activation) -> None:
        version, digest = split_revision(named.revision) or ("none", "none")
        said: dict[str, Any] = {
            "action": "fail",
            "policy_version": version,
            "policy_digest": digest,
            "who": WHO,
            "code": failure.code,
            "detail": failure.detail,
        }
        if halves := split_revision(self._active):
            said |= {"active_version": halves[0], "active_digest": halves[1]}
        # The same version activated again may fail again, and is then noted again.
        key = f"policy fail {named.revision} {named.number} {failure.code}"
        if key == self._noted:
            return
        self._outbox.put("policy", said, once=key)
        self._noted = key
        self.noted += 1
        log.error("policy_not_activated", revision=named.revision, code=failure.code, detail=failure.detail)

    def gauges(self) -> Iterator[Gauge]:
        yield (
            "aegis_policy_awaited_seconds",
            "Since a version is named that OPA has not; 0 when it has it.",
            self.awaited_s,
            {},
        )
        yield "aegis_policy_failures_total", "Activations noted as failed.", self.noted, {}


def activation_notes(
    settings: Settings, last: Callable[[], Activation | None], outbox: Outbox
) -> ActivationNotes:
    """As the settings want it; not running. `outbox` is its own: a connection is one thread's."""
    engine = OpaEngine(settings.path(settings.policy.opa_socket), "none", connections=1)
    return ActivationNotes(engine, last, outbox)
