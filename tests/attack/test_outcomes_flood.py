"""Whoever may send outcomes, or an agent through Envoy, tries to stop decisions, fill memory, lose others'.

Nothing may hold up a decision; what is lost is lost alone, and counted in the next heartbeat.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from authz.errors import EvidenceUnavailable
from authz.ledger.writer import RESERVED
from authz.telemetry.outcomes import OutcomeCounts
from authz.wire import outcomes as wire
from authz.wire.outcomes import Outcomes
from tests.unit.ledger.disks import FailingDisk, HungDisk
from tests.wire.logged import decision_id, entry, message
from tests.wire.outcomes import Nobody, listening, lost, outcomes
from tests.worker import message as check_request
from tests.worker import serving
from tests.workers import Worker, decision


async def test_a_flood_holds_up_no_decision_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every decision is answered while the flood goes on, however much more of it would come."""
    monkeypatch.setattr(wire, "WINDOW", 1)  # nothing of it is known as a duplicate
    flooded = message(*(entry(number, decided=False) for number in range(500)))
    sent, over = 0, asyncio.Event()

    async def flood() -> AsyncIterator[bytes]:
        nonlocal sent
        while not over.is_set():
            sent += 500
            yield flooded
            await asyncio.sleep(0)

    async with serving(tmp_path) as worker:
        counts = OutcomeCounts(Nobody(), 60)
        taking = Outcomes(worker.settings, worker.ledger, counts)
        recording = asyncio.create_task(taking.record())
        flooding = [asyncio.create_task(taking.follow(flood())) for _ in range(3)]
        while not counts.lost["queue_full"]:
            await asyncio.sleep(0)
        before = sent
        for number in range(100):
            answer = await worker.check(check_request(token=worker.token(), path=f"/v{number}"))
            assert answer.allowed
        assert sent > before
        assert taking.queued <= worker.settings.outcomes.waiting
        over.set()
        await asyncio.gather(*flooding)
        recording.cancel()
        taking.finish()
    entries = worker.entries()
    recorded = sum(each["kind"] == "outcome" for each in entries)
    assert recorded + counts.lost["queue_full"] == sent
    named = [each for entry in entries for each in entry.get("outcomes_lost", [])]
    assert {(each["reason_code"], each["source"]) for each in named} == {("queue_full", "egress-1")}
    assert sum(each["count"] for each in named) == counts.lost["queue_full"]


async def test_a_poisoned_entry_costs_itself_alone(worker: Worker) -> None:
    """An agent chooses what stands in a path: one that could not be parsed must not take its neighbours."""
    poison = entry(2)
    poison.request.path = poison.request.authority = b"\xff\xfe\x00"
    garbage = [b"\xff\xff\xff", b"\x0a\xff\xff\xff\xff\x0f", entry(5, b"\x0a\xff").SerializeToString()]
    async with listening(worker) as served:
        await served.send(message(entry(1), *garbage, poison, entry(3)))
        await served.recorded()
        assert served.counts.lost["malformed"] == 3
    assert [each["decision_id"] for each in outcomes(worker)] == [decision_id(number) for number in (1, 2, 3)]
    assert lost(worker) == {("malformed", "egress-1"): 3}


async def test_what_is_no_message_ends_its_own_stream_only(worker: Worker) -> None:
    async with listening(worker) as served:
        good, bad = served.stream(), served.stream()
        await good.write(message(entry(1)))
        await bad.write(b"\xff\xff not a message")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await bad
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        await good.write(message(entry(2)))
        await good.done_writing()
        assert await good == b""
        await served.recorded()
    assert len(outcomes(worker)) == 2
    assert lost(worker) == {("malformed", "unknown"): 1}


async def test_the_longest_path_that_envoy_takes_fits_and_more_is_refused(worker: Worker) -> None:
    longest = entry(1, decided=False)
    longest.request.path = b"/" + b"a" * (256 << 10)
    async with listening(worker) as served:
        await served.send(message(longest))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.send(b"\x12" + b"x" * wire.MAX_MESSAGE)
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        await served.send(message(entry(2)))
        await served.recorded()
    first, second = outcomes(worker)
    assert len(first["endpoint"]) < 1024
    assert second["decision_id"] == decision_id(2)


async def test_large_entries_are_bounded_in_bytes_and_not_only_in_number(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MAX_QUEUED_BYTES", 100_000)
    large = entry(1, decided=False)
    large.request.path = b"/" + b"a" * 30_000
    async with listening(worker) as served:
        await served.send(message(*[large] * 10))
        assert served.outcomes._bytes <= 100_000
        await served.recorded()
        assert served.counts.lost["queue_full"] == 7
    assert lost(worker) == {("queue_full", "egress-1"): 7}


async def test_streams_are_bounded_in_number(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_STREAMS", 2)
    async with listening(worker) as served:
        served.outcomes.streams = 2
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.send(message(entry(1)))
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        served.outcomes.streams = 0
        await served.send(message(entry(2)))
        await served.recorded()
    assert [each["decision_id"] for each in outcomes(worker)] == [decision_id(2)]


async def test_names_of_senders_are_bounded_and_cannot_be_read_as_commands(worker: Worker) -> None:
    async with listening(worker) as served:
        await served.send(message(entry(1), node=b"\x1b[31m" + b"n" * 1000))
        await served.recorded()
    (found,) = outcomes(worker)
    assert found["gateway"].isprintable()
    assert len(found["gateway"]) <= wire.MAX_GATEWAY


async def test_a_full_disk_loses_outcomes_by_count_and_no_decision_after_it(worker: Worker) -> None:
    disk = FailingDisk(errno.ENOSPC)
    async with listening(worker, disk) as served:
        disk.broken = {"write"}
        await served.send(message(*(entry(number) for number in range(5))))
        await served.recorded()
        with pytest.raises(EvidenceUnavailable):
            await served.ledger.append("decision", decision(1))
        assert served.ledger.notes_lost == 5
        disk.broken = set()
        await served.ledger.append("decision", decision(2))
    assert outcomes(worker) == []
    assert lost(worker) == {("not_written", "worker-0"): 5}


async def test_a_quota_that_is_used_up_loses_outcomes_by_count(worker: Worker) -> None:
    worker.configure(quota_bytes=RESERVED + 5000)
    async with listening(worker) as served:
        await served.send(message(*(entry(number) for number in range(20))))
        await served.recorded()
        gone = served.counts.lost["ledger_unavailable"]
    assert gone > 0
    assert len(outcomes(worker)) == 20 - gone
    assert lost(worker) == {("ledger_unavailable", "egress-1"): gone}


async def test_a_disk_that_hangs_stops_no_outcome_and_none_of_them_counts_as_answered_early(
    worker: Worker,
) -> None:
    worker.configure(reply_after="bounded", sync_wait_ms=1)
    disk = HungDisk()
    async with listening(worker, disk) as served:
        disk.hang()
        await served.ledger.append("decision", decision(1))
        await served.send(message(*(entry(number) for number in range(50))))
        await served.recorded()
        assert len(outcomes(worker)) == 50
        disk.release()
    late = [each for each in worker.check()[0] if each["kind"] == "late_sync"]
    assert [each.get("answers", 1) for each in late] == [1, 1]


async def test_an_entry_that_hits_a_fault_of_ours_costs_itself_alone(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = wire.accesslog.read

    def faulty(data: bytes, *rest: object) -> object:
        if b"request-2" in data:
            raise ZeroDivisionError
        return read(data, *rest)

    monkeypatch.setattr(wire.accesslog, "read", faulty)
    async with listening(worker) as served:
        await served.send(message(entry(1), entry(2), entry(3)))
        await served.recorded()
    assert [each["request_id"] for each in outcomes(worker)] == ["request-1", "request-3"]
    assert lost(worker) == {("internal_error", "egress-1"): 1}
