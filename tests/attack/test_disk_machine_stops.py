"""The machine stops: what was never synced may be gone, and then the ledger says so."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from authz.ledger.chain import Written
from tests import ledgers
from tests.unit.ledger.disks import VolatileDisk
from tests.workers import Worker, decision, kill


async def stop_machine(worker: Worker, seed: int) -> tuple[list[Written], list[Written]]:
    """A worker, a disk that hangs at some moment, a crash: what was answered after its sync, and before."""
    random, disk = Random(seed), VolatileDisk()
    ledger = worker.open(disk, boot_id=lambda: f"boot {seed}")
    synced: list[Written] = []
    early: list[Written] = []
    for turn in range(6):
        if turn == 3:
            disk.hang()
        futures = [ledger.append("decision", decision(turn * 4 + n), synced=n == 0) for n in range(4)]
        if turn < 3:
            synced += await asyncio.gather(*futures)  # one write, so one sync covers them all
        else:
            early += await asyncio.gather(*futures[1:])
            assert not futures[0].done()
    task = asyncio.create_task(kill(ledger))
    await asyncio.sleep(0)
    disk.crash(random)
    disk.release()
    await task
    return synced, early


@pytest.mark.parametrize("seed", range(8))
async def test_what_was_synced_is_there_and_what_is_not_is_named_by_a_gap(worker: Worker, seed: int) -> None:
    worker.configure(reply_after="bounded", sync_wait_ms=1)
    worker.judged = True  # the oracle wants every line ended; the old epoch stays as the machine left it
    synced, early = await stop_machine(worker, seed)
    async with worker.running(boot_id=lambda: "next boot"):
        pass
    old, new = worker.epochs
    report = ledgers.check(worker.root)
    assert report.verified, report.first_fault
    hashes = [ledgers.merkle.leaf_hash(entry).hex() for entry in ledgers.read(old)]
    assert all(hashes[written.seq] == written.entry_hash for written in synced)
    assert len(early) == 9
    (gap,) = report.logs[1].gaps
    assert (gap.seq, gap.old_log, gap.good_entries) == (1, report.logs[0].log, len(hashes))
    assert gap.why == "the machine stopped without closing the log"
    assert new.name > old.name


async def test_a_gap_that_was_lost_with_the_epoch_that_said_it_is_said_again(worker: Worker) -> None:
    """The machine stops again while the worker starts."""
    worker.configure(reply_after="bounded", sync_wait_ms=1)
    worker.judged = True
    await stop_machine(worker, 99)
    disk = VolatileDisk()
    disk.hang()
    starting = asyncio.create_task(asyncio.to_thread(_start, worker, disk))
    assert await asyncio.to_thread(disk.waiting.wait, 30)
    unborn = worker.epochs[-1]
    disk.crash(Random(1))
    (unborn / "entries" / "00000000.jsonl").write_bytes(b"")
    disk.release()
    await starting
    async with worker.running(boot_id=lambda: "next boot"):
        pass
    assert unborn not in worker.epochs
    report = ledgers.check(worker.root)
    assert report.verified, report.first_fault
    assert [log.gap_count for log in report.logs] == [0, 1]


def _start(worker: Worker, disk: VolatileDisk) -> None:
    """A start that is over when its disk is: nothing of it goes on."""

    async def run() -> None:
        await kill(worker.open(disk, boot_id=lambda: "last boot"))

    asyncio.run(run())
