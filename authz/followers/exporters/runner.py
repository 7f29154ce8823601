"""Takes every durable entry to one destination: in order, at least once, nothing passed over.

    read behind the cursor -> deliver -> move the cursor       refused: half as many, at last a dead letter
                                                               unavailable: wait, longer each time

In: the ledgers on disk, a Destination. Out: what was delivered, cursors, dead letters. Run by the follower,
one task for each destination; never on the request path. It may be killed at any time: what was delivered
and is not yet behind the cursor is delivered again. An IntegrityViolation ends it, since nothing may be sent
that is not what was signed; a cursor that does not fit stops this exporter, loudly, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from authz.errors import CursorUnusable
from authz.followers import reading
from authz.followers.bell import Bell
from authz.followers.durable import Durable, Extent
from authz.followers.exporters.cursor import Cursors
from authz.followers.exporters.dead_letters import DeadLetters
from authz.followers.exporters.destination import Destination, Refused, Unavailable
from authz.followers.reading import Position, Taken
from authz.telemetry.metrics import Gauge

log = structlog.get_logger(__name__)

FIRST_WAIT_S: Final = 0.25
LONGEST_REQUEST_S: Final = 300.0  # of what a receiver asks us to wait


class Exporting:
    """One destination's task. The numbers are for metrics; only the task writes them."""

    def __init__(
        self,
        durable: Durable,
        destination: Destination,
        directory: Path,
        *,
        every_s: float,
        longest_wait_s: float,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        """`directory` holds cursors and dead letters; between two passes are at least `every_s` seconds;
        `clock` is Unix time, `random` in [0, 1).
        """
        self.name = destination.name
        self._durable, self._destination = durable, destination
        self._cursors = Cursors(directory)
        self._dead = DeadLetters(directory, clock)
        self._every_s, self._longest_wait_s = every_s, longest_wait_s
        self._clock, self._random = clock, random
        self._at: dict[str, Position] = {}  # by log
        self._limit = destination.entries  # of the next batch; less after a refusal
        self._failed = 0  # attempts since the last success
        self._waiting: dict[str, int] = {}  # entries to deliver, by log
        self._oldest = 0.0  # Unix time of the first entry that waits; 0: none was seen
        self._stopped = False
        self.delivered = self.failures = 0
        self.fault = ""

    async def run(self, bell: Bell, stop: asyncio.Event) -> None:
        """Until `stop`, and then once more without waiting for anybody. `bell` rings when there may be more.

        Raises IntegrityViolation.
        """
        try:
            while True:
                last = stop.is_set()
                await self._attempt(stop)
                if last:
                    return
                if not self.fault:
                    await _pause(self._every_s, stop)
                    await bell.heard(stop)
        except CursorUnusable as error:
            self.fault, self._stopped = str(error), True
            log.error("export_stopped", exporter=self.name, error=str(error))  # noqa: TRY400 - where is in the text
            await stop.wait()
        finally:
            await self._destination.close()

    async def _attempt(self, stop: asyncio.Event) -> None:
        """One pass; after one that failed, the pause before the next."""
        try:
            await self._pass(stop)
        except (Unavailable, OSError) as error:
            self._failed += 1
            self.failures += 1
            self.fault = str(error)
            log.warning("export_failed", exporter=self.name, error=self.fault, tries=self._failed)
            await _pause(self._pause_s(error), stop)
        else:
            self._oldest = 0.0
            self._recovered()

    async def _pass(self, stop: asyncio.Event) -> None:
        """Deliver all that there is, each worker's oldest epoch first."""
        final = stop.is_set()
        extents = await asyncio.to_thread(self._measure)
        held_up: set[str] = set()
        for extent in extents:
            if extent.worker in held_up:
                continue
            while self._at[extent.log].size < extent.size:
                if stop.is_set() and not final:
                    return
                await self._step(extent)
            if not extent.whole:
                held_up.add(extent.worker)  # what comes later must not overtake it

    def _measure(self) -> list[Extent]:
        extents = self._durable.extents()
        for extent in extents:
            if extent.log not in self._at:
                self._at[extent.log] = self._cursors.load(extent)
            self._waiting[extent.log] = max(0, extent.size - self._at[extent.log].size)
        return extents

    async def _step(self, extent: Extent) -> None:
        """Deliver the next batch, or less of it next time."""
        batch = await asyncio.to_thread(self._take, extent)
        self._oldest = datetime.fromisoformat(batch[0].members["timestamp"]).timestamp()
        try:
            await self._destination.deliver(extent.worker, batch)
        except Refused as refused:
            if len(batch) > 1:
                self._limit = len(batch) // 2
                return
            log.error("export_refused", exporter=self.name, log=extent.log, seq=batch[0].seq)  # noqa: TRY400 - the reason is the receiver's text, and in the dead letter
            await asyncio.to_thread(self._dead.add, batch[0], str(refused))
        else:
            self.delivered += len(batch)
            self._limit = min(2 * self._limit, self._destination.entries)
        await asyncio.to_thread(self._move, extent, batch[-1].after)
        self._recovered()

    def _take(self, extent: Extent) -> list[Taken]:
        return reading.take(
            extent.directory,
            extent.log,
            self._at[extent.log],
            extent.size,
            entries=self._limit,
            size=self._destination.size,
        )

    def _move(self, extent: Extent, position: Position) -> None:
        self._cursors.store(extent, position)
        self._at[extent.log] = position
        self._waiting[extent.log] = extent.size - position.size

    def _recovered(self) -> None:
        if self._failed:
            log.info("export_recovered", exporter=self.name, tries=self._failed)
        self._failed, self.fault = 0, ""

    def _pause_s(self, error: Exception) -> float:
        """Between half and all of a span that doubles, or what the receiver asked for."""
        asked = min(error.after_s, LONGEST_REQUEST_S) if isinstance(error, Unavailable) else 0.0
        span: float = min(FIRST_WAIT_S * 2 ** min(self._failed - 1, 20), self._longest_wait_s)
        return max(asked, span * (0.5 + self._random() / 2))

    def gauges(self) -> Iterator[Gauge]:
        label = {"exporter": self.name}
        waiting = sum(list(self._waiting.values()))
        behind_s = max(0.0, self._clock() - self._oldest) if waiting and self._oldest else 0.0
        yield "aegis_export_lag_entries", "Durable entries that are not exported yet.", waiting, label
        yield "aegis_export_lag_seconds", "Age of the oldest entry that is not exported.", behind_s, label
        yield "aegis_export_delivered_total", "Entries acknowledged or durable there.", self.delivered, label
        yield "aegis_export_failures_total", "Attempts that failed.", self.failures, label
        yield "aegis_export_dead_letters_total", "Entries refused for good.", self._dead.count, label
        yield "aegis_export_stopped", "1 if its cursor does not fit the ledger.", self._stopped, label


async def _pause(seconds: float, stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
