"""An exporter on a worker's ledger, as the follower runs it, in the test's own event loop.

async with exporting(worker, destination) as exporting:
    worker.seal()
    await exporting.caught_up()
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from authz import canonical
from authz.followers.bell import Bell
from authz.followers.durable import Durable
from authz.followers.exporters.destination import Destination
from authz.followers.exporters.runner import Exporting
from authz.followers.own_keys import OwnKeys
from tests import ledgers
from tests.wire.serving import until
from tests.workers import Worker


def durable(worker: Worker) -> Durable:
    return Durable(worker.root.parent, worker.settings.deployment, OwnKeys.of(worker.settings))


def everything(worker: Worker) -> list[tuple[str, int]]:
    """Every entry on disk, in order."""
    entries = [members for epoch in worker.epochs for members in ledgers.members(epoch)]
    return [(members["log"], members["seq"]) for members in entries]


class Runs:
    """One run of an exporter."""

    def __init__(self, worker: Worker, exporter: Exporting, task: asyncio.Task[None], bell: Bell) -> None:
        self.worker, self.exporter, self.task, self._bell = worker, exporter, task, bell

    @property
    def cursors(self) -> list[Path]:
        return sorted(directory(self.worker, self.exporter.name).rglob("[!.]*.json"))

    def exported(self) -> int:
        """Entries behind all cursors."""
        return sum(canonical.parse(file.read_bytes().rstrip())["size"] for file in self.cursors)

    async def rings(self) -> None:
        """The bell, and time to do something about it."""
        self._bell.ring()
        await asyncio.sleep(0.01)

    async def caught_up(self, entries: int | None = None) -> None:
        """Until the cursors are behind everything on disk, or so many entries."""
        wanted = len(everything(self.worker)) if entries is None else entries

        def done() -> bool:
            self._bell.ring()
            assert not self.task.done(), self.task.exception()
            return self.exported() >= wanted

        await until(done, 30)

    def gauge(self, name: str) -> float:
        return next(value for found, _, value, _ in self.exporter.gauges() if found == f"aegis_export_{name}")


def directory(worker: Worker, name: str) -> Path:
    return worker.state / "export" / name


@asynccontextmanager
async def exporting(worker: Worker, destination: Destination, **given: float) -> AsyncIterator[Runs]:
    """Until the end of the block, and then once more, as when the follower is told to stop."""
    clock = given.get("clock", 1_800_000_000.0)
    exporter = Exporting(
        durable(worker),
        destination,
        directory(worker, destination.name),
        every_s=given.get("every_s", 0.0),
        longest_wait_s=0.02,
        clock=lambda: clock,
        random=lambda: 0.5,
    )
    bell, stop = Bell(), asyncio.Event()
    task = asyncio.create_task(exporter.run(bell, stop))
    try:
        yield Runs(worker, exporter, task, bell)
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 30)
    if error := task.exception():
        pytest.fail(f"the exporter ended: {error!r}")
