"""A state directory that was copied, restored or moved never continues the history of another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from authz.errors import IntegrityViolation
from tests import ledgers
from tests.workers import Worker, decision


async def run(worker: Worker, *numbers: int, boot: str = "") -> None:
    how = {"boot_id": lambda: boot} if boot else {}
    async with worker.running(**how) as ledger:
        for number in numbers:
            await ledger.append("decision", decision(number))


async def die(worker: Worker, *numbers: int) -> None:
    async with worker.doomed() as ledger:
        for number in numbers:
            await ledger.append("decision", decision(number))


def gaps(worker: Worker) -> list[str]:
    return [entry["why"] for entry in worker.history()[-1] if entry["kind"] == "gap"]


def copied(worker: Worker, to: Path) -> Worker:
    shutil.copytree(worker.state, to)
    return Worker(to)


async def test_a_copy_on_the_same_machine_begins_its_own_epoch(worker: Worker, tmp_path: Path) -> None:
    await die(worker, 1)
    copy = copied(worker, tmp_path / "copy")
    await run(copy, 2)
    await run(worker, 3)
    assert len(worker.epochs) == 1
    assert gaps(copy) == ["the directory was copied or restored"]
    copy.check()
    assert {epoch.name for epoch in copy.epochs} > {epoch.name for epoch in worker.epochs}


async def test_a_copy_on_another_machine_begins_its_own_epoch(worker: Worker, tmp_path: Path) -> None:
    await die(worker, 1)
    copy = copied(worker, tmp_path / "copy")
    await run(copy, 2, boot="another machine")
    assert len(gaps(copy)) == 1
    copy.check()


async def test_a_disk_moved_to_another_machine_begins_an_epoch(worker: Worker) -> None:
    await die(worker, 1)
    await run(worker, 2, boot="another machine")
    assert gaps(worker) == ["the machine stopped without closing the log"]


async def test_a_copy_of_a_closed_ledger_lost_nothing(worker: Worker, tmp_path: Path) -> None:
    await run(worker, 1)
    copy = copied(worker, tmp_path / "copy")
    await run(copy, 2, boot="another machine")
    assert gaps(copy) == []
    assert copy.check()[1][0]["previous_size"] == 3


async def test_an_old_image_of_the_ledger_under_a_newer_checkpoint_store_is_a_gap(
    worker: Worker, tmp_path: Path
) -> None:
    await die(worker, 1)
    shutil.copytree(worker.root, tmp_path / "image")
    async with worker.doomed() as ledger:
        await ledger.append("decision", decision(2))
    worker.seal()
    _put_back(worker, tmp_path / "image")
    worker.judged = True
    with pytest.raises(IntegrityViolation, match="rolled back"):
        worker.seal()
    await run(worker, 3)
    old, new = worker.epochs
    gap = ledgers.members(new)[1]
    assert (gap["why"], gap["good_entries"]) == ("rolled back: 4 entries were sealed, the disk holds 2", 2)
    assert ledgers.members(old)[-1]["kind"] == "decision"  # nothing was appended to the old history
    worker.seal()


async def test_an_image_from_before_the_newest_epoch_is_a_gap_that_names_the_lost_one(
    worker: Worker, tmp_path: Path
) -> None:
    await run(worker, 1)
    shutil.copytree(worker.root, tmp_path / "image")
    await run(worker, 2)
    worker.seal()
    lost = worker.epochs[1]
    shutil.rmtree(lost)
    await run(worker, 3)
    (gap,) = (entry for entry in worker.history()[-1] if entry["kind"] == "gap")
    assert gap["old_log"].endswith(lost.name)
    assert gap["why"] == "this disk does not hold the log"
    assert worker.epochs[-1].name > lost.name


def _put_back(worker: Worker, image: Path) -> None:
    """Overwrite in place, as a restored disk would: even directories keep their identity."""
    for file in image.rglob("*.jsonl"):
        there = worker.root / file.relative_to(image)
        there.write_bytes(file.read_bytes())
