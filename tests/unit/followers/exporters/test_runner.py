"""When an exporter passes; what it does with what it finds is in tests/attack/test_export_*.py."""

from __future__ import annotations

import time
from pathlib import Path

from authz.config_exporters import FilesExport
from authz.followers.exporters.files import ACTIVE, Files
from tests.exporting import everything, exporting
from tests.workers import Worker, decision


def files(worker: Worker) -> Files:
    return Files(worker.state / "records", FilesExport(columns={}), time.time)


def lines(state: Path) -> int:
    return len((state / "records/worker-0" / ACTIVE).read_bytes().splitlines())


async def test_between_two_passes_it_waits_and_at_the_end_it_does_not(worker: Worker) -> None:
    async with worker.running() as ledger:
        await ledger.append("decision", decision(1))
        worker.seal()
        async with exporting(worker, files(worker), every_s=3600.0) as runs:
            await runs.caught_up()
            first = lines(worker.state)
            await ledger.append("decision", decision(2))
            worker.seal()
            for _ in range(20):
                await runs.rings()
            assert lines(worker.state) == first
    assert lines(worker.state) == first + 1 == len(everything(worker)) - 1  # `close` is not sealed
