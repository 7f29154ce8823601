"""An allow whose record is not down: tried through the disk, the caller's patience and a crowd."""

import asyncio
from pathlib import Path

import pytest

from tests.policy.opa import until
from tests.unit.ledger.disks import FailingDisk, FullDisk, HungDisk
from tests.worker import Answer, Call, CheckWorker, message, serving

SYNCED = {"reply_after": "synced"}


async def ask(worker: CheckWorker) -> Answer:
    return await worker.check(message(token=worker.token()))


async def several(worker: CheckWorker, count: int) -> list[Answer]:
    return await asyncio.gather(*(ask(worker) for _ in range(count)))


def all_refused(answers: list[Answer], reason: str) -> bool:
    seen = {(answer.allowed, answer.http_status, answer.body["reason_code"]) for answer in answers}
    return seen == {(False, 503, reason)} and not any(answer.decision_id for answer in answers)


def allowed_on_disk(worker: CheckWorker) -> int:
    return sum(record["decision"] == "allow" for record in worker.records().values())


async def test_on_a_disk_that_takes_no_write(tmp_path: Path) -> None:
    disk = FailingDisk()
    async with serving(tmp_path, disk=disk) as worker:
        assert (await ask(worker)).allowed
        disk.broken.add("write")
        assert all_refused(await several(worker, 20), "evidence_unavailable")
        assert not worker.ledger.healthy
        assert allowed_on_disk(worker) == 1
        disk.broken.clear()
        assert (await ask(worker)).allowed
        assert allowed_on_disk(worker) == 2


async def test_on_a_full_disk(tmp_path: Path) -> None:
    disk = FullDisk(1 << 20)
    async with serving(tmp_path, disk=disk) as worker:
        disk.room = 6000
        answers = [await ask(worker) for _ in range(10)]
        allowed = [answer for answer in answers if answer.allowed]
        assert 0 < len(allowed) < 10
        assert all_refused(answers[len(allowed) :], "evidence_unavailable")
        assert allowed_on_disk(worker) == len(allowed)
        disk.room = 1 << 20


async def test_on_a_disk_whose_sync_hangs_where_only_synced_counts(tmp_path: Path) -> None:
    disk = HungDisk()
    async with serving(tmp_path, disk=disk, ledger=SYNCED) as worker:
        disk.hang()
        waiting = asyncio.create_task(ask(worker))
        await until(disk.waiting.is_set)
        for _ in range(50):
            await asyncio.sleep(0)
        assert not waiting.done()
        disk.release()
        assert (await waiting).allowed


async def test_on_a_disk_whose_sync_hangs_where_written_counts_it_says_so(tmp_path: Path) -> None:
    disk = HungDisk()
    async with serving(tmp_path, disk=disk) as worker:
        disk.hang()
        assert (await ask(worker)).allowed
        assert allowed_on_disk(worker) == 1
        await until(lambda: any(entry["kind"] == "late_sync" for entry in worker.entries()))
        disk.release()


async def test_on_a_disk_whose_sync_fails(tmp_path: Path) -> None:
    """After it nobody knows what the disk holds: no allow, not even of what could be read back."""
    disk = FailingDisk()
    async with serving(tmp_path, disk=disk, ledger=SYNCED) as worker:
        disk.broken.add("sync")
        assert all_refused(await several(worker, 3), "evidence_unavailable")
        disk.broken.clear()
        assert all_refused(await several(worker, 3), "evidence_unavailable")


@pytest.mark.parametrize("left", [0.0, -1.0])
async def test_when_nobody_waits_any_more(tmp_path: Path, left: float) -> None:
    async with serving(tmp_path) as worker:
        answer = await worker.check(message(token=worker.token()), Call(time_left=left))
        assert all_refused([answer], "overloaded")
        assert allowed_on_disk(worker) == 0


async def test_in_a_crowd_everybody_is_decided_or_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, listen={"waiting": 4, "source_share": 0.5}) as worker:
        answers = await several(worker, 30)
        refused = [answer for answer in answers if not answer.allowed]
        assert len(refused) == 28
        assert all_refused(refused, "overloaded")
        assert allowed_on_disk(worker) == 2
        assert (await ask(worker)).allowed


async def test_when_the_caller_leaves_the_record_stays(tmp_path: Path) -> None:
    async with serving(tmp_path) as worker:
        for turns in range(12):
            task = asyncio.create_task(ask(worker))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        worker.audit()
        assert worker.service.waiting == 0
        assert (await ask(worker)).allowed
