"""Heartbeats: idle logs live, refusals are counted, clocks that step are noted, and none of it gets lost."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from authz.errors import EvidenceUnavailable
from authz.ledger import pulse
from authz.ledger.pulse import MAX_PAIRS, MAX_SOURCE
from authz.ledger.writer import RESERVED, LedgerWriter
from tests.unit.ledger.disks import FailingDisk
from tests.workers import Worker, decision

QUICK = 0.005  # seconds, of `heartbeat_s` and so of every look


class Clock:
    """The real clock, put forward or back by hand."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def __call__(self) -> int:
        return time.time_ns() + self.ahead_ns


def said(worker: Worker) -> list[dict[str, Any]]:
    """The heartbeats on disk."""
    return [entry for entry in worker.history()[-1] if entry["kind"] == "heartbeat"]


async def beats(worker: Worker, at_least: int = 1) -> list[dict[str, Any]]:
    """The heartbeats on disk, once there are so many."""
    while len(said(worker)) < at_least:
        await asyncio.sleep(0.001)
    return said(worker)


async def test_an_idle_log_says_that_it_lives_and_how_far_it_goes(worker: Worker) -> None:
    worker.configure(heartbeat_s=QUICK)
    async with worker.running():
        found = await beats(worker, 3)
    assert [entry["size"] for entry in found[:3]] == [1, 2, 3]
    assert not any("refusals" in entry or "clock_step_us" in entry for entry in found)


async def test_a_busy_log_has_nothing_to_say(worker: Worker) -> None:
    worker.configure(heartbeat_s=30)
    async with worker.running() as ledger:
        ledger._pulse._look()
        await ledger.append("decision", decision(1))
        ledger._pulse._look()
    assert worker.kinds() == ["open", "decision", "close"]


async def test_each_heartbeat_says_what_the_kernel_says_of_its_clock(worker: Worker) -> None:
    worker.configure(heartbeat_s=QUICK)
    async with worker.running(clock=lambda: {"source": "tsc", "state": "synchronized"}):
        (first, *_) = await beats(worker)
    assert first["clock"] == {"source": "tsc", "state": "synchronized"}
    assert worker.history()[0][0]["clock"] == {"source": "tsc", "state": "synchronized"}


async def test_a_clock_that_is_kept_right_no_longer_is_said_at_once(worker: Worker) -> None:
    states = {"state": "synchronized"}
    async with worker.running(clock=lambda: dict(states)) as ledger:
        look(ledger)
        states["state"] = "unsynchronized"
        for _ in range(2):  # once is enough
            look(ledger)
            await asyncio.sleep(0)
    assert [entry["clock"] for entry in said(worker)] == [{"state": "unsynchronized"}]


async def test_a_busy_log_says_it_now_and_then(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "CLOCK_EVERY_S", 0.0)
    async with worker.running() as ledger:
        await ledger.append("decision", decision(1))
        look(ledger)
    assert worker.kinds() == ["open", "decision", "heartbeat", "close"]


def look(ledger: LedgerWriter) -> None:
    """Look now instead of in a second."""
    ledger._pulse._timer.cancel()
    ledger._pulse._look()


async def test_refusals_are_counted_by_reason_and_source_in_the_next_look(worker: Worker) -> None:
    async with worker.running() as ledger:
        for source, count in (("10.0.0.1", 2), ("10.0.0.2", 1)):
            for _ in range(count):
                ledger.count_refusal("overloaded", source)
        look(ledger)
        (found,) = await beats(worker)
        look(ledger)
    assert found["refusals"] == [
        {"reason_code": "overloaded", "source": "10.0.0.1", "count": 2},
        {"reason_code": "overloaded", "source": "10.0.0.2", "count": 1},
    ]
    assert worker.kinds() == ["open", "heartbeat", "close"]


async def test_sources_are_bounded_in_number_and_length_and_none_is_uncounted(worker: Worker) -> None:
    async with worker.running() as ledger:
        for number in range(MAX_PAIRS + 10):
            ledger.count_refusal("overloaded", f"{number} " + "\U0001f600" * 1000)
        look(ledger)
        (found,) = await beats(worker)
    refusals = found["refusals"]
    assert len(refusals) == MAX_PAIRS + 1
    assert refusals[-1] == {"reason_code": "overloaded", "source": "other", "count": 10}
    assert all(len(refusal["source"]) <= MAX_SOURCE for refusal in refusals)


async def test_the_longest_refusals_fit_an_entry(worker: Worker) -> None:
    async with worker.running() as ledger:
        for number in range(MAX_PAIRS):
            ledger.count_refusal("evidence_unavailable", f"{number:02}" + "\x01" * 62)  # six bytes each
        look(ledger)
        await beats(worker)


async def test_refusals_that_did_not_get_down_are_said_later(worker: Worker) -> None:
    disk = FailingDisk()
    async with worker.running(disk) as ledger:
        disk.broken = {"write"}
        ledger.count_refusal("overloaded", "a")
        look(ledger)
        while ledger.healthy:
            await asyncio.sleep(0)
        ledger.count_refusal("overloaded", "a")
        disk.broken = set()
        while sum(r["count"] for entry in said(worker) for r in entry.get("refusals", ())) < 2:
            look(ledger)
            await asyncio.sleep(0.001)
    assert sum(r["count"] for entry in said(worker) for r in entry.get("refusals", ())) == 2


async def test_a_clock_that_steps_is_noted_once_and_order_stays(worker: Worker) -> None:
    clock = Clock()
    async with worker.running(clock_ns=clock) as ledger:
        await ledger.append("decision", decision(1))
        clock.ahead_ns = -3_600_000_000_000
        look(ledger)
        await beats(worker)
        look(ledger)
        await ledger.append("decision", decision(2))
    (entries,) = worker.check()
    assert [entry["kind"] for entry in entries] == ["open", "decision", "heartbeat", "decision", "close"]
    assert abs(entries[2]["clock_step_us"] + 3_600_000_000) < 1_000_000
    assert entries[3]["timestamp"] < entries[1]["timestamp"]


async def test_a_clock_that_is_slewed_has_not_stepped(worker: Worker) -> None:
    clock = Clock()
    async with worker.running(clock_ns=clock) as ledger:
        for _ in range(4):
            clock.ahead_ns += 400_000_000
            look(ledger)
    assert worker.kinds() == ["open", "close"]


async def test_a_step_that_did_not_get_down_is_said_later(worker: Worker) -> None:
    disk, clock = FailingDisk(), Clock()
    async with worker.running(disk, clock_ns=clock) as ledger:
        clock.ahead_ns = 5_000_000_000
        disk.broken = {"write"}
        look(ledger)
        while ledger.healthy:
            await asyncio.sleep(0)
        disk.broken = set()
        while not (steps := [entry["clock_step_us"] for entry in said(worker) if "clock_step_us" in entry]):
            look(ledger)
            await asyncio.sleep(0.001)
    assert [round(step, -6) for step in steps] == [5_000_000]


async def test_a_quota_that_is_used_up_is_not_used_up_further_by_asking(worker: Worker) -> None:
    worker.configure(quota_bytes=RESERVED + 1000)
    async with worker.running() as ledger:
        while ledger.healthy:
            await ledger.append("decision", decision(1))
        with pytest.raises(EvidenceUnavailable, match="quota"):
            ledger.append("decision", decision(1))
        look(ledger)
    assert "heartbeat" not in worker.kinds()


async def test_a_ledger_that_nobody_is_sent_to_finds_out_that_it_is_well_again(worker: Worker) -> None:
    disk = FailingDisk()
    async with worker.running(disk) as ledger:
        disk.broken = {"write"}
        failed = ledger.append("decision", decision(1))
        await asyncio.wait([failed])
        assert not ledger.healthy
        disk.broken = set()
        look(ledger)
        await beats(worker)
        assert ledger.healthy
