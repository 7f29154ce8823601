"""Who is answered when: never before the write, at the sync, or early and then with a word in the log."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from authz.errors import EvidenceUnavailable
from authz.ledger.chain import Written
from authz.ledger.waiters import Lateness, Waiters


class Log:
    """Takes what lateness has to say, or does not."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.futures: list[asyncio.Future[Written]] = []
        self.refuses = False

    def say(self, kind: str, members: dict[str, Any]) -> asyncio.Future[Written]:
        if self.refuses:
            raise EvidenceUnavailable("no")
        assert kind == "late_sync"
        self.said.append(members)
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]

    def ranges(self) -> list[tuple[str, int, int | None, int | None]]:
        return [(m["state"], m["first_seq"], m.get("last_seq"), m.get("answers")) for m in self.said]


def place(seq: int) -> Written:
    return Written("log", seq, "hash", "time")


def added(waiters: Waiters, *places: int, synced: bool = False) -> list[asyncio.Future[Written]]:
    return [waiters.add(place(seq), synced=synced) for seq in places]


async def until_done(*futures: asyncio.Future[Written]) -> None:
    await asyncio.wait_for(asyncio.wait(futures), 30)


async def test_without_a_bound_everybody_waits_for_the_sync_that_covers_them() -> None:
    waiters = Waiters(None, Lateness(Log().say))
    one, two = added(waiters, 0, 1)
    waiters.wrote(1)
    waiters.wrote(2)
    waiters.synced(1)
    assert (one.done(), two.done()) == (True, False)
    waiters.synced(2)
    assert two.result() == place(1)


async def test_nobody_is_answered_before_the_bytes_are_written() -> None:
    for bound in (None, 0.0, 0.001):
        waiters = Waiters(bound, Lateness(Log().say))
        loose, strict = waiters.add(place(0), synced=False), waiters.add(place(1), synced=True)
        waiters.synced(5)
        await asyncio.sleep(0)
        assert not loose.done()
        assert not strict.done()
        waiters.stop()


async def test_a_slow_sync_is_not_waited_for_beyond_the_bound_and_the_range_is_named() -> None:
    log = Log()
    waiters = Waiters(0.002, Lateness(log.say))
    early = added(waiters, 3, 4)
    strict = added(waiters, 5, synced=True)
    waiters.wrote(6)
    await until_done(*early)
    assert log.ranges() == [("begun", 3, None, None)]
    later = added(waiters, 6)
    waiters.wrote(7)
    await until_done(*later)
    assert not strict[0].done()
    waiters.synced(7)
    assert strict[0].result() == place(5)
    assert log.ranges() == [("begun", 3, None, None), ("ended", 3, 6, 3)]
    assert log.said[1]["waited_us"] >= 1000
    waiters.stop()


async def test_a_range_ends_only_with_a_sync_that_covers_all_of_it() -> None:
    log = Log()
    waiters = Waiters(0.001, Lateness(log.say))
    early = added(waiters, 0)
    waiters.wrote(1)
    later = added(waiters, 1)
    waiters.wrote(2)
    await until_done(*early, *later)
    waiters.synced(1)
    assert [said["state"] for said in log.said] == ["begun"]
    waiters.synced(2)
    assert log.ranges()[1] == ("ended", 0, 1, 2)
    waiters.stop()


async def test_a_sync_in_time_leaves_no_word() -> None:
    log = Log()
    waiters = Waiters(30.0, Lateness(log.say))
    future = added(waiters, 0)[0]
    waiters.wrote(1)
    waiters.synced(1)
    assert future.done()
    assert log.said == []
    waiters.stop()


async def test_with_a_bound_of_zero_answers_leave_with_the_write_and_a_slow_sync_is_named() -> None:
    log = Log()
    lateness = Lateness(log.say)
    waiters = Waiters(0.0, lateness)
    quick = added(waiters, 0)[0]
    waiters.wrote(1)
    assert quick.done()
    waiters.synced(1)
    slow = added(waiters, 1)[0]
    waiters.wrote(2)
    assert slow.done()
    while not log.said:
        await asyncio.sleep(0.001)
    waiters.synced(2)
    assert log.ranges() == [("begun", 1, None, None), ("ended", 1, 1, 1)]
    assert lateness.begun == 1
    waiters.stop()


async def test_where_no_word_can_be_left_nobody_is_answered_early() -> None:
    log = Log()
    log.refuses = True
    waiters = Waiters(0.001, Lateness(log.say))
    future = added(waiters, 0)[0]
    waiters.wrote(1)
    while waiters._timer is not None:
        await asyncio.sleep(0.001)
    assert not future.done()
    waiters.synced(1)
    assert future.result() == place(0)
    assert log.said == []


async def test_a_word_that_did_not_get_down_is_said_with_the_next_range() -> None:
    log = Log()
    waiters = Waiters(0.001, Lateness(log.say))
    await until_done(*_written(waiters, 0))
    waiters.synced(1)
    log.futures[-1].set_exception(EvidenceUnavailable("disk full"))
    await until_done(*_written(waiters, 4))
    waiters.synced(5)
    assert log.ranges()[-1] == ("ended", 0, 4, 2)
    waiters.stop()


async def test_a_word_that_is_refused_is_said_at_the_next_sync() -> None:
    log = Log()
    waiters = Waiters(0.001, Lateness(log.say))
    await until_done(*_written(waiters, 0))
    log.refuses = True
    waiters.synced(1)
    log.refuses = False
    waiters.synced(2)
    assert log.ranges() == [("begun", 0, None, None), ("ended", 0, 0, 1)]
    waiters.stop()


def _written(waiters: Waiters, seq: int) -> list[asyncio.Future[Written]]:
    futures = added(waiters, seq)
    waiters.wrote(seq + 1)
    return futures


async def test_a_cancelled_waiter_is_passed_over_and_needs_no_word() -> None:
    log = Log()
    waiters = Waiters(0.001, Lateness(log.say))
    gone = _written(waiters, 0)[0]
    gone.cancel()
    while waiters._timer is not None:
        await asyncio.sleep(0.001)
    assert log.said == []
    waiters.synced(1)


async def test_of_a_batch_cut_short_only_what_was_written_is_answered() -> None:
    waiters = Waiters(None, Lateness(Log().say))
    futures = added(waiters, 0, 1, 2)
    waiters.wrote(2)
    waiters.fail_unwritten("disk full")
    waiters.synced(2)
    assert futures[0].done()
    assert futures[1].result() == place(1)
    with pytest.raises(EvidenceUnavailable, match="disk full"):
        futures[2].result()


async def test_when_all_is_lost_everybody_hears_why() -> None:
    waiters = Waiters(30.0, Lateness(Log().say))
    loose, strict = added(waiters, 0), added(waiters, 1, synced=True)
    waiters.wrote(2)
    unwritten = added(waiters, 2)
    waiters.fail_all("sync: Input/output error")
    for future in (*loose, *strict, *unwritten):
        with pytest.raises(EvidenceUnavailable, match="Input/output error"):
            future.result()
    waiters.synced(9)
    waiters.stop()


async def test_many_waiters_of_a_hung_sync_cost_what_each_is_worth_and_are_let_go() -> None:
    """However long the sync hangs: what was answered is not kept, nor looked at again."""
    waiters = Waiters(0.001, Lateness(Log().say))
    for seq in range(0, 5000, 10):
        futures = added(waiters, *range(seq, seq + 10))
        waiters.wrote(seq + 10)
    await until_done(*futures)
    assert len(waiters._loose) == 0
    waiters.stop()
