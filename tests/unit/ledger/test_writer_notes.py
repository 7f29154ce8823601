"""Entries that nobody waits for: they cost no answer anything, and none is lost without a word."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from authz.errors import EvidenceUnavailable
from authz.ledger import writer
from authz.ledger.pulse import MAX_PAIRS
from authz.ledger.writer import RESERVED, LedgerWriter
from tests.unit.ledger.disks import FailingDisk, HungDisk
from tests.workers import Worker, decision

OUTCOME: dict[str, Any] = {"forwarded": True, "status": 200}


def beat(ledger: LedgerWriter) -> None:
    """Look now instead of in a second."""
    ledger._pulse._timer.cancel()
    ledger._pulse._look()


async def test_a_note_is_an_entry_like_any_other(worker: Worker) -> None:
    async with worker.running() as ledger:
        decided = await ledger.append("decision", decision(1))
        noted = ledger.note("outcome", OUTCOME | {"decision_id": decision(1)["decision_id"]})
    _, _, outcome, _ = worker.check()[0]
    assert (outcome["kind"], outcome["seq"]) == ("outcome", noted.seq) == ("outcome", decided.seq + 1)
    assert outcome["previous_entry_hash"] == decided.entry_hash
    worker.seal()
    worker.check()


async def test_notes_ask_for_no_sync_while_others_may(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that a note began could stall the answer to a decision that comes during it."""
    monkeypatch.setattr(writer, "NOTE_SYNC_S", 3600.0)
    disk = HungDisk()
    async with worker.running(disk) as ledger:
        before = disk.syncs
        ledger.note("outcome", OUTCOME)
        while worker.kinds()[-1] != "outcome":
            await asyncio.sleep(0)
        assert disk.syncs == before
        await ledger.append("decision", decision(1))  # covers the note
        assert ledger._synced_upto == ledger.seq


async def test_a_note_alone_is_synced_within_its_time(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "NOTE_SYNC_S", 0.001)
    disk = HungDisk()
    async with worker.running(disk) as ledger:
        before = disk.syncs
        ledger.note("outcome", OUTCOME)
        while ledger._synced_upto < ledger.seq:
            await asyncio.sleep(0.001)
        assert disk.syncs > before


async def test_notes_never_make_a_sync_late(worker: Worker) -> None:
    """`late_sync` names answers that left early; to a note nobody is answered."""
    worker.configure(reply_after="bounded", sync_wait_ms=1)
    disk = HungDisk()
    async with worker.running(disk) as ledger:
        disk.hang()
        for _ in range(3):
            ledger.note("outcome", OUTCOME)
        await ledger.append("decision", decision(1))
        disk.release()
    late = [entry for entry in worker.check()[0] if entry["kind"] == "late_sync"]
    assert [entry["first_seq"] for entry in late] == [4, 4]
    assert late[-1]["answers"] == 1


async def test_a_note_that_cannot_be_written_is_counted_in_the_next_heartbeat(worker: Worker) -> None:
    disk = FailingDisk(errno.ENOSPC)
    async with worker.running(disk) as ledger:
        disk.broken = {"write"}
        future = ledger.append("decision", decision(1))
        for _ in range(3):
            ledger.note("outcome", OUTCOME)
        with pytest.raises(EvidenceUnavailable):
            await future
        assert ledger.notes_lost == 3
        disk.broken = set()
        beat(ledger)
    (heartbeat,) = [entry for entry in worker.check()[0] if entry["kind"] == "heartbeat"]
    assert heartbeat["outcomes_lost"] == [{"reason_code": "not_written", "source": "worker-0", "count": 3}]
    assert "refusals" not in heartbeat


async def test_lost_outcomes_are_named_beside_refusals_and_each_is_bounded_by_itself(worker: Worker) -> None:
    async with worker.running() as ledger:
        ledger.count_refusal("overloaded", "10.0.0.1")
        for number in range(MAX_PAIRS + 5):
            ledger.count_lost("queue_full", f"envoy-{number}", 2)
        beat(ledger)
    (heartbeat,) = [entry for entry in worker.check()[0] if entry["kind"] == "heartbeat"]
    assert heartbeat["refusals"] == [{"reason_code": "overloaded", "source": "10.0.0.1", "count": 1}]
    lost = heartbeat["outcomes_lost"]
    assert len(lost) == MAX_PAIRS + 1
    assert sum(each["count"] for each in lost) == 2 * (MAX_PAIRS + 5)
    assert lost[-1] == {"reason_code": "queue_full", "source": "other", "count": 10}


async def test_a_heartbeat_that_fails_loses_no_count_of_what_was_lost(worker: Worker) -> None:
    disk = FailingDisk(errno.ENOSPC)
    async with worker.running(disk) as ledger:
        ledger.count_lost("queue_full", "egress", 7)
        disk.broken = {"write"}
        beat(ledger)
        while not ledger._pulse._told:  # the heartbeat heard that it was not written
            await asyncio.sleep(0)
        disk.broken = set()
        beat(ledger)
    (heartbeat,) = [entry for entry in worker.check()[0] if entry["kind"] == "heartbeat"]
    assert heartbeat["outcomes_lost"] == [{"reason_code": "queue_full", "source": "egress", "count": 7}]


async def test_notes_leave_the_reserve_of_the_quota_to_heartbeats(worker: Worker) -> None:
    async with worker.running():
        pass
    used = sum(path.stat().st_size for path in worker.root.parent.rglob("*.jsonl"))
    worker.configure(quota_bytes=used + RESERVED + 2000)
    async with worker.running() as ledger:
        while ledger.healthy:
            ledger.note("outcome", OUTCOME)
        with pytest.raises(EvidenceUnavailable, match="quota"):
            ledger.note("outcome", OUTCOME)
        await ledger.append("heartbeat", {})


async def test_nothing_is_noted_once_the_ledger_is_closed(worker: Worker) -> None:
    async with worker.running() as ledger:
        pass
    with pytest.raises(EvidenceUnavailable, match="closed"):
        ledger.note("outcome", OUTCOME)
