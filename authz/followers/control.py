"""Writes the deployment's control log: the one process that does.

    outbox --oldest first, exactly once--> <deployment>/control/<epoch> <--every heads_s-- heads of all logs

In: the settings, the outbox, Heads. Out: a log like a worker's, by the same writer; the follower seals it
like any other. Called by the follower's process. An event is forgotten in the outbox after its entry is
synced; whoever was killed between the two finds its `event_id` in the log. A ledger or an outbox that is not
well is retried, and said; stored evidence that is not what was signed ends the follower.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from authz import canonical
from authz.config import Settings
from authz.errors import EvidenceUnavailable, IntegrityViolation
from authz.followers.anchors.outside import at_start
from authz.followers.bell import Bell
from authz.followers.heads import Heads
from authz.ledger import control
from authz.ledger.chain import Written
from authz.ledger.opening import open_ledger
from authz.ledger.outbox import Event, Outbox
from authz.ledger.recent import Watch
from authz.ledger.writer import LedgerWriter, Observed
from authz.telemetry.metrics import Gauge

log = structlog.get_logger(__name__)

BATCH: Final = 256  # events under one sync
# Entries this much older than the oldest event that waits are not looked at: for clocks that stepped back.
CLOCK_MARGIN: Final = timedelta(hours=1)

Open = Callable[[Callable[[], None]], LedgerWriter]
"""Opens the ledger; the argument is called when nothing can be appended to it any more."""


class ControlLog:
    """Rounds until `stop`; the last one begins after it, and then the log is closed. The numbers are for
    metrics.
    """

    def __init__(self, opened: Open, root: Path, outbox: Outbox, heads: Heads, heads_s: float) -> None:
        self._opened, self._root, self._outbox, self._heads = opened, root, outbox, heads
        self._heads_s, self._heads_due = heads_s, 0.0  # monotonic seconds
        self._ledger: LedgerWriter | None = None
        self._failed = False  # the ledger that is open can take nothing any more
        self._written: set[str] = set()  # events that wait, and that an earlier process wrote already
        self.fault = "the control log is not open yet"
        self.events = self.failures = self.waiting = 0

    async def run(self, bell: Bell, stop: asyncio.Event) -> None:
        """Raises IntegrityViolation, KeyUnusable, LedgerLocked."""
        try:
            while True:
                last = stop.is_set()
                await self._round(last)
                if last:
                    return
                await bell.heard(stop)
        finally:
            await self._close()

    async def _round(self, last: bool) -> None:
        try:
            ledger = self._ledger or await self._open()
            await asyncio.to_thread(self._heads.look)
            await self._drain(ledger)
            if last or time.monotonic() >= self._heads_due:
                await self._say_heads(ledger)
        except IntegrityViolation as violation:
            log.critical("integrity_violation", what=str(violation))
            raise
        except (OSError, EvidenceUnavailable) as error:  # tried again at the next round
            self.failures += 1
            self.fault = f"control log: {error}"
            log.error("control_log_failed", error=str(error))  # noqa: TRY400 - where is in the text
            if self._failed:
                await self._close()
        else:
            self.fault = ""
        with suppress(EvidenceUnavailable):  # said above
            self.waiting = await asyncio.to_thread(self._outbox.count)

    async def _open(self) -> LedgerWriter:
        self._failed = False
        self._ledger = self._opened(self._on_failure)
        self._written = await asyncio.to_thread(self._written_before)
        return self._ledger

    def _on_failure(self) -> None:
        self._failed = True

    async def _close(self) -> None:
        if self._ledger is not None:
            await self._ledger.close()
            self._ledger = None

    def _written_before(self) -> set[str]:
        """The ids of events in the log that may still wait in the outbox."""
        oldest = self._outbox.waiting(1)
        if not oldest:
            return set()
        before = datetime.fromisoformat(oldest[0].at) - CLOCK_MARGIN
        found: set[str] = set()
        for line in next(Watch(self._root).back(), iter(())):
            try:
                entry = canonical.parse(line)
                if datetime.fromisoformat(entry["timestamp"]) < before:
                    break
            except (ValueError, KeyError, TypeError):  # damage, which an operator accepted
                continue
            found.add(str(entry.get("event_id", "")))
        return found

    async def _drain(self, ledger: LedgerWriter) -> None:
        """Write what waits, in order. Raises EvidenceUnavailable with the first that could not be written."""
        while events := await asyncio.to_thread(self._outbox.waiting, BATCH):
            upto, fault = await self._write(ledger, events)
            if upto:
                await asyncio.to_thread(self._outbox.written, upto)
            if fault:
                raise fault

    async def _write(
        self, ledger: LedgerWriter, events: list[Event]
    ) -> tuple[int, EvidenceUnavailable | None]:
        """The number of the last event that is down, 0 for none, and why the next one is not."""
        upto = 0
        said = [event for event in events if event.event_id not in self._written]
        results = await _append(ledger, [(event.kind, _members(event)) for event in said])
        faults = dict(zip((event.number for event in said), results, strict=True))
        for event in events:
            if fault := faults.get(event.number):
                return upto, fault
            upto = event.number
        self.events += len(said)
        return upto, None

    async def _say_heads(self, ledger: LedgerWriter) -> None:
        heads = await asyncio.to_thread(self._heads.now)
        for fault in await _append(ledger, [("log_head", head) for head in heads]):
            if fault:
                raise fault
        self._heads_due = time.monotonic() + self._heads_s

    def gauges(self) -> Iterator[Gauge]:
        yield "aegis_control_events_total", "Events written to the control log.", self.events, {}
        yield "aegis_control_waiting_events", "Events in the outbox.", self.waiting, {}
        yield "aegis_control_failures_total", "Rounds of the control log that failed.", self.failures, {}


async def _append(
    ledger: LedgerWriter, entries: list[tuple[str, dict[str, Any]]]
) -> list[EvidenceUnavailable | None]:
    """For each entry None once it is synced, or why it is not; after one that failed none is down."""
    futures: list[asyncio.Future[Written]] = []
    fault: EvidenceUnavailable | None = None
    for kind, members in entries:
        try:
            futures.append(ledger.append(kind, members, synced=True))
        except EvidenceUnavailable as error:
            fault = error
            break
    found: list[EvidenceUnavailable | None] = []
    for result in await asyncio.gather(*futures, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, EvidenceUnavailable):
            raise result
        fault = result if isinstance(result, EvidenceUnavailable) else fault
        found.append(result if isinstance(result, EvidenceUnavailable) else None)
    return found + [fault] * (len(entries) - len(found))


def _members(event: Event) -> dict[str, Any]:
    return event.members | {"event_id": event.event_id, "event_time": event.at}


def opener(settings: Settings, *, accept_damage: bool) -> Open:
    """Opens the control log as `settings` say."""
    told = settings.model_copy(update={"worker": control.WORKER})
    return lambda on_failure: open_ledger(
        told,
        on_failure=on_failure,
        observed=Observed(),
        accept_damage=accept_damage,
        outside=at_start(told),
    )
