"""A worker hands over to a new record key while it records: no entry is lost, refused or by the wrong key."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from authz.errors import EvidenceUnavailable
from authz.ledger import keys
from authz.ledger.keyring import Listed
from authz.ledger.trust import Trust
from authz.ledger.writer import LedgerWriter
from tests import ledgers
from tests.certifying import Root
from tests.unit.ledger.disks import FailingDisk
from tests.workers import Worker, decision

ROOT = Root()


async def recorded(ledger: LedgerWriter, *numbers: int) -> None:
    await asyncio.gather(*(ledger.append("decision", decision(number)) for number in numbers))


def by(entry: ledgers.Members) -> str:
    """The kid that attests `entry`."""
    return str(ledgers.kid(entry))


async def test_after_a_rotation_the_new_key_attests_and_the_old_one_said_so(worker: Worker) -> None:
    async with worker.running() as ledger:
        await recorded(ledger, 1)
        new = worker.rotate("record")
        ledger.follow_key()
        await recorded(ledger, 2)
    (entries,) = worker.check()
    assert [entry["kind"] for entry in entries] == ["open", "decision", "key", "decision", "close"]
    assert [by(entry) for entry in entries] == [ledgers.SIGNER.kid] * 3 + [new.kid] * 2
    handed = entries[2]
    assert (handed["action"], handed["purpose"], handed["jwk"]) == ("rotate", "record", new.jwk)
    assert (handed["key_id"], handed["previous_key_id"]) == (new.kid, ledgers.SIGNER.kid)
    assert (handed["of"], handed["size"]) == (handed["log"], 2)
    assert handed["tail_hash"] == ledgers.leaf(worker.epochs[0], 1)


async def test_a_running_worker_sees_it_by_itself(worker: Worker) -> None:
    worker.configure(heartbeat_s=0.01)
    async with worker.running() as ledger:
        new = worker.rotate("record")
        while b'"kind":"key"' not in worker.segment().read_bytes():
            await asyncio.sleep(0.01)
        await recorded(ledger, 1)
    (entries,) = worker.check()
    assert by(entries[-1]) == new.kid
    assert [entry["kind"] for entry in entries].count("key") == 1


async def test_entries_of_one_turn_are_by_the_key_of_their_place(worker: Worker) -> None:
    async with worker.running() as ledger:
        before = ledger.append("decision", decision(1))
        worker.rotate("record")
        ledger.follow_key()
        after = ledger.append("decision", decision(2))
        await asyncio.gather(before, after)
    (entries,) = worker.check()
    assert [entry["kind"] for entry in entries][1:4] == ["decision", "key", "decision"]
    assert by(entries[2]) == by(entries[1]) != by(entries[3])


async def test_several_rotations_follow_each_other(worker: Worker) -> None:
    async with worker.running() as ledger:
        for number in range(3):
            worker.rotate("record")
            worker.rotate("record")
            ledger.follow_key()
            await recorded(ledger, number)
    (entries,) = worker.check()
    assert [entry["kind"] for entry in entries].count("key") == 3
    assert len({by(entry) for entry in entries}) == 4


async def test_a_hand_over_that_cannot_be_written_leaves_the_old_key_in_use(worker: Worker) -> None:
    disk = FailingDisk()
    async with worker.running(disk) as ledger:
        new = worker.rotate("record")
        disk.broken = {"write"}
        ledger.follow_key()
        with pytest.raises(EvidenceUnavailable):
            await ledger.append("decision", decision(1))
        disk.broken = set()
        await recorded(ledger, 2)
        ledger.follow_key()
        await recorded(ledger, 3)
    (entries,) = worker.check()
    decisions = [entry for entry in entries if entry["kind"] == "decision"]
    assert [by(entry) for entry in decisions] == [ledgers.SIGNER.kid, new.kid]
    assert not any("outcomes_lost" in entry for entry in entries)


async def test_a_key_that_cannot_be_used_is_said_once_and_the_old_one_goes_on(
    worker: Worker, capfd: pytest.CaptureFixture[str]
) -> None:
    async with worker.running() as ledger:
        worker.rotate("record")
        file = worker.state / "keys" / "record.key"
        file.chmod(0o644)
        for number in range(3):
            ledger.follow_key()
            await recorded(ledger, number)
        assert capfd.readouterr().out.count(f"{file}: others may read it") == 1
        file.chmod(0o600)
        file.with_name("record.key.list").touch()  # as a second rotation would
        ledger.follow_key()
    (entries,) = worker.check()
    assert [entry["kind"] for entry in entries][1:] == ["decision", "decision", "decision", "key", "close"]


async def test_a_worker_that_was_killed_before_it_handed_over_does_so_first(worker: Worker) -> None:
    async with worker.doomed() as ledger:
        await recorded(ledger, 1)
        new = worker.rotate("record")
    async with worker.running() as ledger:
        await recorded(ledger, 2)
    (entries,) = worker.check()
    assert [entry["kind"] for entry in entries] == [
        "open",
        "decision",
        "key",
        "recovery",
        "decision",
        "close",
    ]
    assert [by(entry) for entry in entries[2:5]] == [ledgers.SIGNER.kid, new.kid, new.kid]


async def test_a_worker_that_was_killed_after_it_handed_over_goes_on(worker: Worker) -> None:
    async with worker.doomed() as ledger:
        new = worker.rotate("record")
        ledger.follow_key()
        await recorded(ledger, 1)
    async with worker.running() as ledger:
        await recorded(ledger, 2)
    (entries,) = worker.check()
    assert [entry["kind"] for entry in entries] == [
        "open",
        "key",
        "decision",
        "recovery",
        "decision",
        "close",
    ]
    assert by(entries[3]) == new.kid


async def test_killed_with_the_hand_over_as_its_last_entry_the_new_key_goes_on(worker: Worker) -> None:
    async with worker.doomed() as ledger:
        await recorded(ledger, 1)
        worker.rotate("record")
        ledger.follow_key()
        while b'"kind":"key"' not in worker.segment().read_bytes():
            await asyncio.sleep(0.001)
    worker.seal()
    async with worker.running():
        pass
    worker.seal()
    (entries,) = worker.check()
    assert [entry["kind"] for entry in entries] == ["open", "decision", "key", "recovery", "close"]


async def test_down_over_two_rotations_it_begins_an_epoch_and_says_why(worker: Worker) -> None:
    async with worker.doomed() as ledger:
        await recorded(ledger, 1)
    for _ in range(2):
        worker.rotate("record")
    async with worker.running() as ledger:
        await recorded(ledger, 2)
    old, new = worker.check()
    assert [entry["kind"] for entry in new] == ["open", "gap", "decision", "close"]
    assert new[1]["why"] == f"the record key in use, {ledgers.SIGNER.kid}, is not here any more"
    assert by(new[0]) != by(old[0])


async def test_an_epoch_that_follows_a_closed_one_begins_with_the_new_key(worker: Worker) -> None:
    async with worker.running():
        pass
    new = worker.rotate("record")
    async with worker.running() as ledger:
        await recorded(ledger, 1)
    _, entries = worker.check()
    assert [entry["kind"] for entry in entries] == ["open", "decision", "close"]
    assert {by(entry) for entry in entries} == {new.kid}


async def test_the_old_key_is_not_taken_back_by_what_lies_in_its_file(worker: Worker, tmp_path: Path) -> None:
    """Somebody puts the retired key back into the file: the list has it, the log has left it."""
    retired = (worker.state / "keys" / "record.key").read_bytes()
    async with worker.running() as ledger:
        worker.rotate("record")
        ledger.follow_key()
        await recorded(ledger, 1)
    (worker.state / "keys" / "record.key").write_bytes(retired)
    async with worker.running() as ledger:
        await recorded(ledger, 2)
    report = ledgers.check(worker.root, pinned=worker.trust())
    assert "which was followed by another one at" in str(report.first_fault)
    assert keys.thumbprint(ledgers.SIGNER.public) in str(report.first_fault)
    worker.judged = True


# -- certificates


def certify(worker: Worker, until: datetime, root: Root = ROOT) -> Listed:
    """Put a certified key into use."""
    return worker.rotate("record", certify=lambda public: root.vouch(public, until=until))


async def test_a_certified_key_s_entries_bring_their_certificate(worker: Worker) -> None:
    key = certify(worker, datetime(2027, 1, 1, tzinfo=UTC) + timedelta(days=3000))
    async with worker.running() as ledger:
        await recorded(ledger, 1)
    (entries,) = worker.check()
    assert entries[0]["certificate"] == key.certificate
    pinned = Trust(worker.trust().log_keys, (), record_roots=(ROOT.certificate,))
    report = ledgers.check(worker.root, pinned=pinned)
    assert report.verified, report.first_fault


class Clock:
    """Wall time that a test moves."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> int:
        return int(self.now.timestamp() * 1e6) * 1000


NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


async def test_nothing_is_recorded_once_the_certificate_has_really_ended(worker: Worker) -> None:
    certify(worker, NOON + timedelta(hours=1))
    clock = Clock(NOON)
    async with worker.running(clock_ns=clock) as ledger:
        clock.now = NOON + timedelta(hours=1)
        await recorded(ledger, 1)
        assert ledger.healthy
        clock.now += timedelta(microseconds=1)
        assert not ledger.healthy
        with pytest.raises(EvidenceUnavailable, match=r"holds from .* to 2026-06-01T13:00:00\.000000Z"):
            ledger.append("decision", decision(2))
        new = certify(worker, NOON + timedelta(hours=9))
        ledger.follow_key()
        await recorded(ledger, 3)
        assert ledger.healthy
    (entries,) = worker.check()
    assert [entry["kind"] for entry in entries] == ["open", "decision", "key", "decision", "close"]
    assert by(entries[-1]) == new.kid
    pinned = Trust(worker.trust().log_keys, (), record_roots=(ROOT.certificate,))
    report = ledgers.check(worker.root, pinned=pinned)
    assert report.verified, report.first_fault


async def test_a_ledger_that_cannot_attest_its_end_is_left_and_said(worker: Worker) -> None:
    certify(worker, NOON + timedelta(hours=1))
    clock = Clock(NOON)
    async with worker.running(clock_ns=clock) as ledger:
        await recorded(ledger, 1)
        clock.now += timedelta(hours=2)
    certify(worker, NOON + timedelta(hours=9))
    async with worker.running(clock_ns=clock):
        pass
    (entries,) = worker.check()
    assert [entry["kind"] for entry in entries] == ["open", "decision", "key", "recovery", "close"]


async def test_a_start_with_a_certificate_that_ended_says_who_renews_it(worker: Worker) -> None:
    certify(worker, NOON)
    with pytest.raises(EvidenceUnavailable, match="the follower renews it"):
        worker.open(clock_ns=Clock(NOON + timedelta(hours=1)))
    worker.judged = True


async def test_a_worker_whose_clock_is_behind_the_certificate_does_not_record(worker: Worker) -> None:
    certify(worker, NOON)
    with pytest.raises(EvidenceUnavailable, match="the certificate of record key"):
        worker.open(clock_ns=Clock(datetime(2020, 1, 1, tzinfo=UTC)))
    worker.judged = True
