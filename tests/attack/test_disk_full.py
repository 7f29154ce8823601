"""A disk that fills up: what is refused is not down, what is answered is; with room it goes on."""

from __future__ import annotations

import asyncio
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from authz.errors import EvidenceUnavailable
from authz.ledger import notes
from authz.ledger.chain import Written
from authz.ledger.writer import LedgerWriter
from tests import ledgers
from tests.unit.ledger.disks import FullDisk
from tests.workers import Worker, decision


async def tell(ledger: LedgerWriter, *numbers: int) -> dict[int, Written | str]:
    """What each decision's waiter heard: where it is, or why not."""
    heard: dict[int, Written | str] = {}
    futures = {number: ledger.append("decision", decision(number)) for number in numbers}
    for number, future in futures.items():
        try:
            heard[number] = await future
        except EvidenceUnavailable as error:
            heard[number] = str(error)
    return heard


def check(worker: Worker, heard: dict[int, Written | str], why: str) -> None:
    """On disk is exactly what was answered."""
    ids = {
        entry["decision_id"]: entry["seq"]
        for epoch in worker.history()
        for entry in epoch
        if "agent_id" in entry
    }
    for number, answer in heard.items():
        place = ids.pop(decision(number)["decision_id"], None)
        if isinstance(answer, Written):
            assert place == answer.seq
        else:
            assert (place, answer) == (None, why)
    assert not ids


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: the kernel takes what fits, then says EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 1, 1000, 3000, 5000])
async def test_a_limit_on_the_files_size(worker: Worker, room: int) -> None:
    async with worker.running() as ledger:
        heard = await tell(ledger, 0)
        with largest_file(worker.segment().stat().st_size + room):
            heard |= await tell(ledger, *range(1, 8))
            assert not ledger.healthy
            heard |= await tell(ledger, 8)
        heard |= await tell(ledger, *range(9, 12))
        assert ledger.healthy
    check(worker, heard, "write: File too large")
    assert sum(isinstance(answer, str) for answer in heard.values()) >= 3
    assert worker.failures == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB, where whoever runs the tests may mount one."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "aegis-test", str(mount)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


async def test_a_file_system_that_is_full(small_disk: Path) -> None:
    worker = Worker(small_disk / "var")
    filling = small_disk / "filling"
    async with worker.running() as ledger:
        heard = await tell(ledger, 0)
        filling.write_bytes(bytes(60_000))
        for start in range(1, 200, 10):
            heard |= await tell(ledger, *range(start, start + 10))
        assert not ledger.healthy
        with pytest.raises(OSError, match="No space left"):
            (small_disk / "more").write_bytes(bytes(10_000))
        (small_disk / "more").unlink()
        filling.unlink()
        heard |= await tell(ledger, 300)
        assert ledger.healthy
    check(worker, heard, "write: No space left on device")
    assert isinstance(heard[300], Written)
    assert sum(isinstance(answer, str) for answer in heard.values()) > 50
    worker.check()


async def test_a_file_system_that_is_full_at_the_start(small_disk: Path) -> None:
    worker = Worker(small_disk / "var")
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "filling").write_bytes(bytes(1 << 20))
    with pytest.raises(EvidenceUnavailable, match=f"{worker.state}.*: No space left on device"):
        worker.open()
    (small_disk / "filling").unlink()
    async with worker.running():
        pass
    assert worker.kinds() == ["open", "close"]


@pytest.mark.parametrize("room", range(0, 6000, 500))
async def test_a_follower_that_looks_at_the_worst_moment_signs_nothing_that_is_taken_back(
    worker: Worker, room: int
) -> None:
    """Between the write that took a part of the batch and the one that failed, anybody can read that part."""
    disk = FullDisk(1 << 20, worker.seal)
    async with worker.running(disk) as ledger:
        heard = await tell(ledger, 0)
        disk.room = room
        heard |= await tell(ledger, *range(1, 6))
        sealed = notes.parse((worker.epochs[0] / "checkpoint").read_bytes()).size
        assert ledgers.check(worker.root).verified
        disk.room = 1 << 20
        heard |= await tell(ledger, *range(6, 9))
        worker.seal()
    check(worker, heard, "write: No space left on device")
    assert sealed <= ledger.seq
    assert ledgers.check(worker.root).verified


async def test_waiters_that_left_do_not_matter(worker: Worker) -> None:
    disk = FullDisk(1 << 20)
    async with worker.running(disk) as ledger:
        disk.room = 2000
        futures = [ledger.append("decision", decision(number)) for number in range(4)]
        for future in futures:
            future.cancel()
        await asyncio.sleep(0)
        disk.room = 1 << 20
        heard = await tell(ledger, 9)
    assert isinstance(heard[9], Written)
    assert len(worker.check()[0]) == heard[9].seq + 2
