"""Cursors that were damaged, swapped or rolled back: an entry may be sent twice, and is never passed over."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from authz.config_exporters import FilesExport
from authz.followers.exporters.files import ACTIVE, Files
from tests import ledgers
from tests.exporting import Runs, directory, everything, exporting
from tests.wire.serving import until
from tests.workers import Worker, decision


def files(worker: Worker) -> Files:
    return Files(worker.state / "records", FilesExport(columns={}), time.time)


def exported(worker: Worker) -> list[bytes]:
    return (worker.state / "records/worker-0" / ACTIVE).read_bytes().splitlines()


@pytest.fixture
async def half(worker: Worker) -> Worker:
    """Two epochs, both exported."""
    for epoch in range(2):
        async with worker.running() as ledger:
            for number in range(4):
                await ledger.append("decision", decision(10 * epoch + number))
        worker.seal()
    async with exporting(worker, files(worker)) as runs:
        await runs.caught_up()
    return worker


def cursors(worker: Worker) -> list[Path]:
    return sorted(directory(worker, "files").rglob("[!.]*.json"))


async def stops(runs: Runs) -> str:
    await until(lambda: runs.gauge("stopped"))
    return runs.exporter.fault


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[: len(data) // 2], "not an entry's JSON"),
        (lambda data: b"", "not an entry's JSON"),
        (lambda data: data[:-1], "not a cursor"),
        (lambda data: data.replace(b'"size":6', b'"size":7'), "ahead of the ledger"),
        (lambda data: data.replace(b'"size":6', b'"size":5'), "not the one that was exported last"),
        (lambda data: data.replace(b'"offset":', b'"offset":1'), "not the one that was exported last"),
        (lambda data: data.replace(b"worker-0", b"worker-1"), "it is of another log"),
        (lambda data: data.replace(b'"size":6', b'"size":-1'), "not a cursor: size or offset"),
        (lambda data: data.replace(b'"hash":"', b'"hash":"z'), "not a cursor: hash"),
    ],
)
async def test_a_damaged_cursor_stops_the_exporter_and_names_the_file(
    half: Worker, damage: object, said: str
) -> None:
    cursor = cursors(half)[-1]
    cursor.write_bytes(damage(cursor.read_bytes()))  # type: ignore[operator]
    before = exported(half)
    async with exporting(half, files(half)) as runs:
        fault = await stops(runs)
    assert said in fault
    assert str(cursor) in fault
    assert "take the file away" in fault
    assert exported(half) == before


async def test_without_its_cursor_a_log_is_sent_again_from_the_beginning(half: Worker) -> None:
    cursors(half)[-1].unlink()
    async with exporting(half, files(half)) as runs:
        await runs.caught_up()
    again = ledgers.read(half.epochs[-1])
    assert exported(half) == [*ledgers.read(half.epochs[0]), *again, *again]


async def test_the_cursor_of_another_epoch_is_not_this_ones(half: Worker) -> None:
    old, new = cursors(half)
    shutil.copyfile(old, new)
    async with exporting(half, files(half)) as runs:
        assert "it is of another log" in await stops(runs)


async def test_a_cursor_from_before_sends_twice_and_skips_nothing(half: Worker) -> None:
    before = cursors(half)[-1].read_bytes()
    async with half.running() as ledger:
        await ledger.append("decision", decision(99))
    half.seal()
    cursor = cursors(half)[-1]
    async with exporting(half, files(half)) as runs:
        await runs.caught_up()
    cursor.write_bytes(before)
    async with exporting(half, files(half)) as runs:
        await runs.caught_up(len(everything(half)))
    assert exported(half) == [entry for epoch in half.epochs for entry in ledgers.read(epoch)]


async def test_a_ledger_that_was_rolled_back_is_not_exported_as_if_nothing_had_been(half: Worker) -> None:
    """The last epoch's entries and checkpoint are those of an older copy."""
    half.judged = True
    epoch = half.epochs[-1]
    kept = ledgers.read(epoch)[:3]
    ledgers.store(epoch, kept)
    ledgers.seal(epoch, f"{ledgers.WORKER}/{epoch.name}")
    async with exporting(half, files(half)) as runs:
        assert "6 entries were exported, and the ledger has 3" in await stops(runs)


async def test_an_entry_that_was_changed_after_it_was_sealed_is_never_sent(worker: Worker) -> None:
    async with worker.running() as ledger:
        for number in range(4):
            await ledger.append("decision", decision(number))
    worker.seal()
    worker.judged = True
    ledgers.edit(
        worker.epochs[0], lambda stored: stored.__setitem__(2, stored[2].replace(b"allow", b"denyy"))
    )
    with pytest.raises(pytest.fail.Exception, match=r"IntegrityViolation.*seq 3"):
        async with exporting(worker, files(worker)) as runs:
            await until(runs.task.done)
    assert len(exported(worker)) == 0 if (worker.state / "records").exists() else True
