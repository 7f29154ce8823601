"""The writer on real files: what is answered is down, what is refused is not."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from authz.errors import EvidenceUnavailable
from authz.ledger.chain import Written
from authz.ledger.journal import SEGMENT_ENTRIES
from authz.ledger.writer import CLOSE_RESERVED, RESERVED, LedgerWriter, Observed
from tests import ledgers
from tests.unit.ledger.disks import FailingDisk, FullDisk, HungDisk, MiserlyDisk
from tests.workers import Worker, decision

Future = asyncio.Future[Written]


def many(ledger: LedgerWriter, *numbers: int, **how: Any) -> list[Future]:
    return [ledger.append("decision", decision(number), **how) for number in numbers]


def ids(worker: Worker) -> list[str]:
    """The decisions on disk, in their order."""
    return [
        entry["decision_id"] for epoch in worker.history() for entry in epoch if entry["kind"] == "decision"
    ]


def named(*numbers: int) -> list[str]:
    return [decision(number)["decision_id"] for number in numbers]


async def outcome(future: Future) -> str:
    """`written`, or why not."""
    try:
        await asyncio.wait_for(asyncio.shield(future), 30)
    except EvidenceUnavailable as error:
        return str(error)
    return "written"


# -- what is answered


@pytest.mark.parametrize("setting", ["synced", "bounded"])
async def test_an_answer_names_the_place_and_hash_of_what_is_on_disk(worker: Worker, setting: str) -> None:
    worker.configure(reply_after=setting, sync_wait_ms=1000)
    async with worker.running() as ledger:
        written = await asyncio.gather(*many(ledger, 1, 2), *many(ledger, 3, synced=True))
    (entries,) = worker.check()
    assert [entry["kind"] for entry in entries] == ["open", "decision", "decision", "decision", "close"]
    for answer, entry, after in zip(written, entries[1:], entries[2:], strict=False):
        assert (answer.log, answer.seq, answer.timestamp) == (entry["log"], entry["seq"], entry["timestamp"])
        assert answer.entry_hash == after["previous_entry_hash"]


async def test_entries_of_one_turn_are_one_write_and_one_sync(worker: Worker) -> None:
    class Counting(Observed):
        def __init__(self) -> None:
            self.writes = 0
            self.batches: list[int] = []

        def wrote(self, seconds: float) -> None:
            self.writes += 1

        def synced(self, seconds: float, entries: int) -> None:
            self.batches.append(entries)

    counting = Counting()
    async with worker.running(observed=counting) as ledger:
        await asyncio.gather(*many(ledger, *range(100)))
        assert (counting.writes, counting.batches) == (1, [100])


async def test_entries_go_on_in_the_next_segment(worker: Worker) -> None:
    worker.configure(reply_after="synced")
    async with worker.running() as ledger:
        while ledger.seq < SEGMENT_ENTRIES + 3:
            count = min(2048, SEGMENT_ENTRIES + 3 - ledger.seq)
            await asyncio.gather(*(ledger.append("heartbeat", {}) for _ in range(count)))
    worker.seal()
    worker.judged = True  # the chain is enough here: every attestation would take seconds
    (log,) = ledgers.check(worker.root, level=2).logs
    assert (log.fault, log.entries, log.sealed, log.closed) == (None, SEGMENT_ENTRIES + 4, log.entries, True)
    files = sorted((worker.epochs[0] / "entries").iterdir())
    assert [file.name for file in files] == ["00000000.jsonl", "00000001.jsonl"]
    assert files[1].read_bytes().count(b"\n") == 4


async def test_a_cancelled_waiter_does_not_take_its_entry_back(worker: Worker) -> None:
    async with worker.running() as ledger:
        before, after = many(ledger, 1, 2)
        before.cancel()
        await after
    assert ids(worker) == named(1, 2)


async def test_members_that_fit_no_entry_take_no_place(worker: Worker) -> None:
    async with worker.running() as ledger:
        with pytest.raises(ValueError, match="53-bit"):
            ledger.append("decision", decision(1, tool=2**60))
        assert (await ledger.append("decision", decision(2))).seq == 1
    assert ids(worker) == named(2)


async def test_a_small_write_at_a_time_is_enough(worker: Worker) -> None:
    async with worker.running(MiserlyDisk(100)) as ledger:
        await asyncio.gather(*many(ledger, 1, 2, 3))
    assert ids(worker) == named(1, 2, 3)


# -- the end


async def test_after_close_nothing_is_appended(worker: Worker) -> None:
    async with worker.running() as ledger:
        pass
    with pytest.raises(EvidenceUnavailable, match="closed"):
        ledger.append("decision", decision(1))
    assert worker.kinds() == ["open", "close"]
    assert not ledger.healthy


async def test_while_it_closes_nothing_follows_the_close_entry(worker: Worker) -> None:
    disk = HungDisk()
    ledger = worker.open(disk)
    disk.hang()
    waiting = many(ledger, 1, synced=True)
    closing = asyncio.create_task(ledger.close())
    while ledger.seq < 3:
        await asyncio.sleep(0)
    with pytest.raises(EvidenceUnavailable, match="closed"):
        ledger.append("decision", decision(2))
    disk.release()
    await closing
    assert await outcome(waiting[0]) == "written"
    assert worker.kinds() == ["open", "decision", "close"]


async def test_closing_does_not_wait_for_ever_for_a_disk_that_hangs(worker: Worker) -> None:
    disk = HungDisk()
    ledger = worker.open(disk)
    disk.hang()
    waiting = many(ledger, 1, synced=True)
    await ledger.close(wait_s=0.01)
    assert await outcome(waiting[0]) == "the ledger is closed"
    assert worker.kinds() == ["open", "decision", "close"]
    disk.release()


async def test_refusals_that_were_not_said_are_said_before_the_end(worker: Worker) -> None:
    async with worker.running() as ledger:
        ledger.count_refusal("overloaded", "10.0.0.1")
    assert worker.check()[0][1]["refusals"] == [
        {"reason_code": "overloaded", "source": "10.0.0.1", "count": 1}
    ]


# -- a write that fails


async def test_a_write_that_fails_refuses_its_waiters_and_the_next_one_may_succeed(worker: Worker) -> None:
    disk = FailingDisk()
    async with worker.running(disk) as ledger:
        await many(ledger, 1)[0]
        disk.broken = {"write"}
        assert [await outcome(future) for future in many(ledger, 2, 3)] == ["write: Input/output error"] * 2
        assert not ledger.healthy
        disk.broken = set()
        assert await outcome(many(ledger, 4)[0]) == "written"
        assert ledger.healthy
    assert ids(worker) == named(1, 4)
    assert worker.failures == 0


async def test_of_a_batch_that_fills_the_disk_each_waiter_hears_what_is_true(worker: Worker) -> None:
    for room in (0, 1, 1200, 1201, 2500, 5000):
        disk = FullDisk(1 << 20)
        async with worker.running(disk) as ledger:
            disk.room = room
            futures = many(ledger, *range(room, room + 5))
            heard = [await outcome(future) for future in futures]
            assert heard == sorted(heard, reverse=True)  # written ones first
            disk.room = 1 << 20
        written = [
            number for number, said in zip(range(room, room + 5), heard, strict=True) if said == "written"
        ]
        assert ids(worker)[-len(written) :] == named(*written) if written else True
        assert not set(ids(worker)) & set(named(*range(room + len(written), room + 5)))
        assert set(heard) <= {"written", "write: No space left on device"}


async def test_an_unfinished_line_that_stays_ends_the_ledger(worker: Worker) -> None:
    disk = FullDisk(1 << 20, stuck=True)
    async with worker.running(disk) as ledger:
        disk.room = 100
        assert "an unfinished line stays" in await outcome(many(ledger, 1)[0])
        disk.room = 1 << 20
        with pytest.raises(EvidenceUnavailable, match="unfinished line"):
            ledger.append("decision", decision(2))
        assert (worker.failures, ledger.healthy) == (1, False)
    async with worker.running() as ledger:  # the next process cuts the line and goes on
        pass
    assert worker.kinds() == ["open", "recovery", "close"]


async def test_a_fault_of_our_own_in_a_write_ends_the_ledger(worker: Worker) -> None:
    """What is on disk is not known then, so nothing may be chained to it."""
    disk = FailingDisk()
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(repr(context["exception"])))
    async with worker.running(disk) as ledger:
        disk.write = lambda fd, data: 1 // 0  # type: ignore[method-assign]
        heard = await outcome(many(ledger, 1)[0])
    assert heard.startswith("write: ZeroDivisionError")
    assert complaints[0].startswith("ZeroDivisionError")
    assert (worker.failures, worker.kinds()) == (1, ["open"])


# -- a sync that fails


async def test_after_a_failed_sync_nothing_is_appended_and_nobody_is_answered(worker: Worker) -> None:
    disk = FailingDisk()
    ledger = worker.open(disk)
    await many(ledger, 1)[0]
    disk.broken = {"sync"}
    waiting = many(ledger, 2, synced=True)
    assert await outcome(waiting[0]) == "sync: Input/output error"
    disk.broken = set()
    with pytest.raises(EvidenceUnavailable, match="sync: Input/output error"):
        ledger.append("decision", decision(3))
    assert (worker.failures, ledger.healthy) == (1, False)
    await ledger.close()
    assert worker.kinds() == ["open", "decision", "decision"]
    assert (worker.epochs[0] / "failed").read_text() == "sync: Input/output error\n"


async def test_what_waits_to_be_written_when_a_sync_fails_is_not_written_any_more(worker: Worker) -> None:
    async with worker.running() as ledger:
        (waiting,) = many(ledger, 1)
        ledger._abandon("sync: Input/output error")  # the news comes between the append and the write
        assert await outcome(waiting) == "sync: Input/output error"
    assert worker.kinds() == ["open"]
    assert worker.failures == 1


# -- a sync that hangs


async def test_with_synced_everybody_waits_as_long_as_the_sync_hangs(worker: Worker) -> None:
    worker.configure(reply_after="synced", sync_wait_ms=1)
    disk = HungDisk()
    async with worker.running(disk) as ledger:
        disk.hang()
        waiting = many(ledger, 1, 2)
        done, _ = await asyncio.wait(waiting, timeout=0.05)
        assert not done
        disk.release()
        assert [await outcome(future) for future in waiting] == ["written", "written"]
    assert "late_sync" not in worker.kinds()


async def test_bounded_answers_while_the_sync_hangs_and_says_so(worker: Worker) -> None:
    worker.configure(reply_after="bounded", sync_wait_ms=2)
    disk = HungDisk()
    async with worker.running(disk) as ledger:
        disk.hang()
        early = many(ledger, 1, 2)
        strict = many(ledger, 3, synced=True)
        assert [await outcome(future) for future in early] == ["written", "written"]
        assert await outcome(many(ledger, 4)[0]) == "written"
        assert not strict[0].done()
        assert worker.kinds()[:6] == ["open", "decision", "decision", "decision", "late_sync", "decision"]
        disk.release()
        assert await outcome(strict[0]) == "written"
        while "late_sync" not in worker.kinds()[5:]:
            await asyncio.sleep(0.001)
        assert ledger.late_syncs == 1
    late = [entry for entry in worker.check()[0] if entry["kind"] == "late_sync"]
    assert [(entry["state"], entry["first_seq"]) for entry in late] == [("begun", 1), ("ended", 1)]
    assert (late[1]["last_seq"], late[1]["answers"]) == (5, 3)
    assert late[1]["waited_us"] >= 1000


async def test_no_answer_leaves_early_if_the_disk_does_not_take_the_word_of_it(worker: Worker) -> None:
    worker.configure(reply_after="bounded", sync_wait_ms=1)

    class Full(HungDisk):
        full = False
        refused = 0

        def write(self, fd: int, data: memoryview) -> int:
            if self.full:
                self.refused += 1
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(fd, data)

    disk = Full()
    async with worker.running(disk) as ledger:
        disk.hang()
        waiting = many(ledger, 1, 2)
        await asyncio.sleep(0)  # written
        disk.full = True
        while not disk.refused:
            await asyncio.sleep(0.001)
        assert not any(future.done() for future in waiting)
        assert (ledger.late_syncs, worker.kinds()) == (0, ["open", "decision", "decision"])
        disk.full = False
        late = many(ledger, 3)[0]  # with the next entry it is tried again
        assert [await outcome(future) for future in (*waiting, late)] == ["written"] * 3
        disk.release()
    words = [
        (entry["state"], entry["first_seq"]) for entry in worker.check()[0] if entry["kind"] == "late_sync"
    ]
    assert words == [("begun", 1), ("ended", 1)]


async def test_a_ledger_closed_while_answers_were_early_names_their_range(worker: Worker) -> None:
    worker.configure(reply_after="bounded", sync_wait_ms=1)
    disk = HungDisk()
    ledger = worker.open(disk)
    disk.hang()
    await asyncio.gather(*many(ledger, 1, 2))
    closing = asyncio.create_task(ledger.close())
    while worker.kinds()[-1] != "close":
        await asyncio.sleep(0)
    disk.release()
    await closing
    assert worker.kinds() == ["open", "decision", "decision", "late_sync", "late_sync", "close"]
    ended = worker.history()[0][4]
    assert (ended["state"], ended["first_seq"], ended["last_seq"]) == ("ended", 1, 2)


async def test_entries_of_the_ledgers_own_never_make_a_sync_late(worker: Worker) -> None:
    """Or every `late_sync` would bring the next one."""
    worker.configure(reply_after="bounded", sync_wait_ms=1, heartbeat_s=0.005)
    disk = HungDisk()
    async with worker.running(disk) as ledger:
        disk.hang()
        while worker.kinds().count("heartbeat") < 5:
            await asyncio.sleep(0.001)
        disk.release()
        assert ledger.late_syncs == 0


# -- a quota


def with_room_for(worker: Worker, decisions_bytes: int) -> None:
    used = sum(path.stat().st_size for path in worker.root.parent.rglob("*.jsonl"))
    worker.configure(quota_bytes=used + RESERVED + decisions_bytes)


async def test_under_a_quota_decisions_are_refused_before_it_is_used_up(worker: Worker) -> None:
    async with worker.running():
        pass
    with_room_for(worker, 3000)
    async with worker.running() as ledger:
        heard = []
        for number in range(5):
            try:
                heard.append(await outcome(many(ledger, number)[0]))
            except EvidenceUnavailable as error:
                heard.append(str(error))
        assert heard[0] == "written"
        assert heard[-1] == "the ledger's quota is used up"
        assert not ledger.healthy
        assert await outcome(ledger.append("heartbeat", {})) == "written"
    assert worker.kinds()[-2:] == ["heartbeat", "close"]
    assert sum(path.stat().st_size for path in worker.root.rglob("*")) <= worker.settings.ledger.quota_bytes


async def test_a_write_that_failed_uses_no_quota(worker: Worker) -> None:
    async with worker.running():
        pass
    with_room_for(worker, 3000)
    disk = FailingDisk(errno.ENOSPC)
    async with worker.running(disk) as ledger:
        room = ledger._room
        disk.broken = {"write"}
        assert await outcome(many(ledger, 1)[0]) == "write: No space left on device"
        assert ledger._room == room
        disk.broken = set()


async def test_close_gets_down_when_everything_else_is_refused(worker: Worker) -> None:
    async with worker.running():
        pass
    with_room_for(worker, 3000)
    async with worker.running() as ledger:
        ledger._room = CLOSE_RESERVED
        with pytest.raises(EvidenceUnavailable, match="quota"):
            ledger.append("heartbeat", {})
    assert worker.kinds()[-1] == "close"
