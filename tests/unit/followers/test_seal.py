"""Sealing: a checkpoint says what was read back and synced, and never something else later."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from authz.errors import EvidenceUnavailable, IntegrityViolation
from authz.followers import tail as tailing
from authz.followers.own_keys import OwnKeys
from authz.followers.seal import Sealer
from authz.followers.tail import Tail
from authz.ledger import keys, notes
from authz.ledger.checkpoints import CheckpointStore
from authz.ledger.journal import Disk
from authz.ledger.recovery import mark_failed
from tests import ledgers
from tests.unit.ledger.disks import FailingDisk
from tests.workers import Worker, decision


class Follower:
    """A sealer with its store, that can be started anew."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.start()

    def start(self, disk: Disk | None = None) -> None:
        self.store = CheckpointStore(self._worker.state / "checkpoints.sqlite")
        root, deployment = self._worker.root.parent, self._worker.settings.deployment
        self.sealer = Sealer(root, deployment, self.store, OwnKeys.of(self._worker.settings), disk)

    def stop(self) -> None:
        self.sealer.close()
        self.store.close()

    def again(self) -> None:
        """Another process: what was in memory is gone."""
        self.stop()
        self.start()

    def round(self) -> None:
        self.sealer.round()


@pytest.fixture
def follower(worker: Worker) -> Iterator[Follower]:
    made = Follower(worker)
    yield made
    made.stop()


def sealed(worker: Worker, epoch: int = -1) -> int:
    """The size in the stored checkpoint, whose root must be that of the entries on disk; 0 without one."""
    file = worker.epochs[epoch] / "checkpoint"
    if not file.exists():
        return 0
    checkpoint = notes.parse(file.read_bytes())
    leaves = [ledgers.merkle.leaf_hash(entry) for entry in ledgers.read(worker.epochs[epoch])]
    assert checkpoint.root == ledgers.merkle.root(leaves[: checkpoint.size])
    return checkpoint.size


async def lived(worker: Worker, *numbers: int, **how: Any) -> None:
    async with worker.running(**how) as ledger:
        for number in numbers:
            await ledger.append("decision", decision(number))


# -- what is sealed


async def test_whatever_is_new_is_sealed_and_verifies(worker: Worker, follower: Follower) -> None:
    async with worker.running() as ledger:
        for number in range(3):
            await ledger.append("decision", decision(number))
            follower.round()
            assert sealed(worker) == ledger.seq
            log = ledgers.check(worker.root).logs[0]
            assert (log.sealed, log.unsealed) == (ledger.seq, 0)
    follower.round()
    assert (sealed(worker), follower.sealer.sealed, follower.sealer.unsealed) == (5, 4, 0)


async def test_nothing_is_signed_when_nothing_is_new(worker: Worker, follower: Follower) -> None:
    await lived(worker, 1)
    follower.round()
    before = (worker.epochs[0] / "checkpoint").stat()
    for _ in range(3):
        follower.round()
    follower.again()
    follower.round()
    after = (worker.epochs[0] / "checkpoint").stat()  # its time of access changes by being read
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert follower.sealer.sealed == 0


async def test_every_epoch_of_every_worker_is_sealed(worker: Worker, follower: Follower) -> None:
    await lived(worker, 1)
    await lived(worker, 2, 3)
    second = Worker(worker.state)
    second.settings = second.settings.model_copy(update={"worker": "worker-1"})
    second.root = second.settings.ledger_directory
    await lived(second, 4)
    second.judged = True
    follower.round()
    assert [sealed(worker, 0), sealed(worker, 1), sealed(second)] == [3, 4, 3]
    assert follower.store.logs("aegis.test/worker-1/") == [f"aegis.test/worker-1/{second.epochs[0].name}"]


async def test_a_line_that_is_not_finished_waits(worker: Worker, follower: Follower) -> None:
    async with worker.doomed() as ledger:
        await ledger.append("decision", decision(1))
    with worker.segment().open("ab") as file:
        file.write(b'{"agent')
    follower.round()
    assert sealed(worker) == 2
    await lived(worker)
    follower.round()
    assert (len(worker.epochs), sealed(worker)) == (1, 4)


async def test_an_old_epoch_is_sealed_to_its_end_and_not_read_again(
    worker: Worker, follower: Follower
) -> None:
    await lived(worker, 1)
    await lived(worker, 2)
    follower.round()
    old = worker.epochs[0]
    shutil.move(old / "entries", worker.state / "elsewhere")
    follower.round()
    shutil.move(worker.state / "elsewhere", old / "entries")
    follower.again()
    follower.round()
    assert follower.sealer._open.keys() == {worker.epochs[1]}


async def test_a_kill_between_swap_and_signature_is_made_good(worker: Worker, follower: Follower) -> None:
    await lived(worker, 1)
    follower.round()
    note = (worker.epochs[0] / "checkpoint").read_bytes()
    (worker.epochs[0] / "checkpoint").unlink()
    follower.again()
    follower.round()
    assert (worker.epochs[0] / "checkpoint").read_bytes() == note


async def test_a_store_that_is_lost_is_filled_from_the_checkpoints(
    worker: Worker, follower: Follower
) -> None:
    await lived(worker, 1)
    follower.round()
    stored = follower.store.latest(follower.store.logs("")[0])
    follower.stop()
    (worker.state / "checkpoints.sqlite").unlink()
    follower.start()
    follower.round()
    assert follower.store.latest(follower.store.logs("")[0]) == stored


async def test_of_two_followers_one_signs_and_the_other_looks_again(
    worker: Worker, follower: Follower
) -> None:
    other = Follower(worker)
    async with worker.running() as ledger:
        follower.round()
        other.round()
        await ledger.append("decision", decision(1))
        follower.round()
        await ledger.append("decision", decision(2))
        with pytest.raises(EvidenceUnavailable, match="another process seals this log too"):
            other.round()
        other.round()
        assert sealed(worker) == 3
    other.stop()


async def test_the_segment_is_synced_before_anything_is_signed(
    worker: Worker, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived(worker, 1)
    order: list[str] = []
    real_sync, real_advance, real_sign = os.fdatasync, follower.store.advance, notes.sign

    def sync(fd: int) -> None:
        order.append(f"sync {os.path.basename(os.readlink(f'/proc/self/fd/{fd}'))}")
        real_sync(fd)

    def advance(*args: Any, **named: Any) -> bool:
        order.append("swap")
        return real_advance(*args, **named)

    def sign(*args: Any) -> bytes:
        order.append("sign")
        return real_sign(*args)

    monkeypatch.setattr(os, "fdatasync", sync)
    monkeypatch.setattr(follower.store, "advance", advance)
    monkeypatch.setattr(notes, "sign", sign)
    follower.round()
    assert order == ["sync 00000000.jsonl", "swap", "sign"]


async def test_after_a_sync_that_failed_nothing_more_of_the_epoch_is_signed(
    worker: Worker, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived(worker, 1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", _broken)
        with pytest.raises(OSError, match="Input/output error"):
            follower.round()
    for _ in range(2):
        with pytest.raises(EvidenceUnavailable, match=f"{worker.epochs[0].name}: a sync failed"):
            follower.round()
        assert (follower.sealer.broken, follower.sealer.unsealed) == (1, 3)
        follower.again()
    assert sealed(worker) == 0
    assert (worker.epochs[0] / "failed").exists()
    await lived(worker, 2)
    follower.round()
    assert sealed(worker) == 4
    assert (follower.sealer.broken, follower.sealer.unsealed) == (1, 0)


async def test_a_failed_sync_is_a_fault_for_as_long_as_its_epoch_grows_and_the_worker_ends_it(
    worker: Worker, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the follower was told of the error; what the worker answers from then on would stay unsealed."""
    async with worker.doomed() as ledger:
        await ledger.append("decision", decision(1))
        follower.round()
        await ledger.append("decision", decision(2))
        with monkeypatch.context() as patched:
            patched.setattr(tailing.os, "fdatasync", _broken)
            with pytest.raises(OSError, match="Input/output error"):
                follower.round()
        with pytest.raises(EvidenceUnavailable, match="could not sync this epoch"):
            await ledger.append("decision", decision(3))
        assert worker.failures == 1
        with pytest.raises(EvidenceUnavailable, match="its worker has begun no new epoch since"):
            follower.round()
        assert (sealed(worker), follower.sealer.unsealed) == (2, 2)
    await lived(worker, 4)
    follower.round()
    assert (sealed(worker, 0), sealed(worker, 1), follower.sealer.unsealed) == (2, 4, 0)
    assert worker.check()[1][1]["why"] == "a sync failed"


async def test_a_failed_sync_is_remembered_though_the_disk_takes_no_mark(
    worker: Worker, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FailingDisk()
    disk.broken.add("open")
    follower.stop()
    follower.start(disk)
    await lived(worker, 1)
    with monkeypatch.context() as patched:
        patched.setattr(tailing.os, "fdatasync", _broken)
        with pytest.raises(OSError, match="Input/output error"):
            follower.round()
    for _ in range(2):  # syncs succeed again
        with pytest.raises(EvidenceUnavailable, match="a sync failed"):
            follower.round()
    assert (sealed(worker), follower.store.logs("")) == (0, [])
    assert not (worker.epochs[0] / "failed").exists()
    disk.broken.clear()
    with pytest.raises(EvidenceUnavailable, match="a sync failed"):
        follower.round()
    assert (worker.epochs[0] / "failed").read_text() == "follower's sync: Input/output error\n"
    assert follower.sealer.broken == 1


async def test_a_sync_that_fails_while_a_log_is_read_counts_too(
    worker: Worker, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived(worker, 1)

    def broken(_: Tail) -> None:
        raise tailing.SyncFailed(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Tail, "advance", broken)
        with pytest.raises(OSError, match="Input/output error"):
            follower.round()
    with pytest.raises(EvidenceUnavailable, match="a sync failed"):
        follower.round()
    assert sealed(worker) == 0


def _broken(fd: int) -> None:
    raise OSError(5, "Input/output error")


# -- what is not


async def test_what_a_worker_could_not_sync_is_never_signed(worker: Worker, follower: Follower) -> None:
    async with worker.doomed() as ledger:
        await ledger.append("decision", decision(1))
        follower.round()
        await ledger.append("decision", decision(2))
    mark_failed(worker.epochs[0], "sync: Input/output error", Disk())
    with pytest.raises(EvidenceUnavailable, match="a sync failed"):
        follower.round()
    assert (sealed(worker), follower.sealer.broken, follower.sealer.unsealed) == (2, 1, 1)


async def test_a_broken_chain_is_a_violation_and_never_signed(worker: Worker, follower: Follower) -> None:
    async with worker.doomed() as ledger:
        await ledger.append("decision", decision(1))
        follower.round()
        for number in (2, 3):
            await ledger.append("decision", decision(number))
    stored = ledgers.read(worker.epochs[0])
    with worker.segment().open("r+b") as file:
        file.write(b"\n".join(stored).replace(b"billing-agent", b"billing-agenX"))
    worker.judged = True
    for _ in range(2):
        with pytest.raises(IntegrityViolation) as violated:
            follower.round()
        follower.again()
    assert violated.value.file == str(worker.segment())
    assert notes.parse((worker.epochs[0] / "checkpoint").read_bytes()).size == 2


async def test_a_root_other_than_the_signed_one_is_a_violation(worker: Worker, follower: Follower) -> None:
    """Somebody with the record key rewrote what is sealed, links and all, while nobody followed."""
    await lived(worker, 1, 2)
    follower.round()
    follower.stop()
    ledgers.rechain(worker.epochs[0], lambda all_: all_[1].update(decision="deny"), ledgers.SIGNER)
    worker.judged = True
    follower.start()
    with pytest.raises(IntegrityViolation, match="the root over 4 entries is not the one that was signed"):
        follower.round()


async def test_a_disk_rolled_back_is_a_violation_until_the_worker_has_owned_up(
    worker: Worker, follower: Follower
) -> None:
    async with worker.doomed() as ledger:
        await ledger.append("decision", decision(1))
    old = worker.segment().read_bytes()
    async with worker.doomed() as ledger:
        await ledger.append("decision", decision(2))
    follower.round()
    follower.stop()
    worker.segment().write_bytes(old)
    worker.judged = True
    follower.start()
    with pytest.raises(IntegrityViolation, match="rolled back: 4 entries were sealed, and 2 are there"):
        follower.round()
    await lived(worker, 3)
    follower.again()
    follower.round()
    assert (follower.sealer.broken, sealed(worker, 1)) == (1, 4)
    assert ledgers.check(worker.epochs[1]).verified


async def test_damage_in_an_old_epoch_is_a_violation_unless_a_later_one_owned_up(
    worker: Worker, follower: Follower
) -> None:
    await lived(worker, 1)
    stored = ledgers.read(worker.epochs[0])
    stored[1] = stored[1].replace(b"billing-agent", b"billing-agenX")
    ledgers.store(worker.epochs[0], stored)
    worker.judged = True
    await lived(worker, 2)  # finds the damage: `gap`
    follower.round()
    assert (follower.sealer.broken, sealed(worker, 1)) == (1, 4)
    assert not (worker.epochs[0] / "checkpoint").exists()
    ledgers.store(worker.epochs[1], ledgers.read(worker.epochs[1])[:1])
    shutil.copytree(worker.epochs[1], worker.root / "29990101T000000Z-0000000000000000")
    (worker.epochs[1] / "checkpoint").unlink()
    follower.again()
    with pytest.raises(IntegrityViolation):
        follower.round()


async def test_an_epoch_that_goes_away_while_it_is_followed_is_a_violation(
    worker: Worker, follower: Follower
) -> None:
    await lived(worker, 1)
    follower.round()
    shutil.rmtree(worker.epochs[0])
    with pytest.raises(IntegrityViolation, match="the epoch is gone while it was followed"):
        follower.round()


async def test_an_epoch_that_never_began_may_go_away(worker: Worker, follower: Follower) -> None:
    unborn = worker.root / "20260101T000000Z-0000000000000000"
    (unborn / "entries").mkdir(parents=True)
    follower.round()
    await lived(worker, 1)
    assert not unborn.exists()
    follower.round()
    assert sealed(worker) == 3


@pytest.mark.parametrize("foreign", ["seed", "log", "rubbish", "directory"])
async def test_a_checkpoint_that_is_not_ours_is_a_violation_and_not_replaced(
    worker: Worker, follower: Follower, foreign: str
) -> None:
    await lived(worker, 1)
    file, log = worker.epochs[0] / "checkpoint", f"aegis.test/worker-0/{worker.epochs[0].name}"
    note = {
        "seed": notes.sign(log, 3, bytes(32), ledgers.OTHER_SEED),
        "log": notes.sign("other", 3, bytes(32), ledgers.LOG_SEED),
        "rubbish": b"rubbish",
        "directory": b"",
    }[foreign]
    file.mkdir() if foreign == "directory" else file.write_bytes(note)
    worker.judged = True
    with pytest.raises(IntegrityViolation, match="checkpoint"):
        follower.round()
    assert file.is_dir() if foreign == "directory" else file.read_bytes() == note


async def test_two_checkpoints_of_one_size_are_a_violation(worker: Worker, follower: Follower) -> None:
    await lived(worker, 1)
    log = f"aegis.test/worker-0/{worker.epochs[0].name}"
    follower.store.advance(log, 3, b"\x01" * 32, expected=0)
    (worker.epochs[0] / "checkpoint").write_bytes(notes.sign(log, 3, b"\x02" * 32, ledgers.LOG_SEED))
    worker.judged = True
    with pytest.raises(IntegrityViolation, match="two roots are signed for 3 entries"):
        follower.round()


async def test_before_any_worker_ran_there_is_nothing_to_do(worker: Worker, follower: Follower) -> None:
    follower.round()
    worker.root.parent.mkdir()
    (worker.root.parent / "a file").touch()
    (worker.root.parent / "a-link").symlink_to(worker.state)
    follower.round()
    assert (follower.sealer.sealed, follower.sealer.unsealed) == (0, 0)


async def test_what_cannot_be_written_is_tried_again_and_counts_as_unsealed(
    worker: Worker, follower: Follower
) -> None:
    await lived(worker, 1)
    blocked = worker.epochs[0] / ".checkpoint.new"
    blocked.mkdir()
    with pytest.raises(IsADirectoryError):
        follower.round()
    assert (sealed(worker), follower.sealer.unsealed) == (0, 3)
    blocked.rmdir()
    follower.round()
    assert (sealed(worker), follower.sealer.unsealed) == (3, 0)


async def test_an_epoch_that_cannot_be_sealed_holds_up_no_other(worker: Worker, follower: Follower) -> None:
    await lived(worker, 1)
    await lived(worker, 2)
    (worker.epochs[0] / ".checkpoint.new").mkdir()
    with pytest.raises(IsADirectoryError):
        follower.round()
    assert [sealed(worker, 0), sealed(worker, 1)] == [0, 3]


# -- keys


def lines(worker: Worker) -> list[bytes]:
    """The log keys whose signatures stand under the newest checkpoint."""
    checkpoint = notes.parse((worker.epochs[-1] / "checkpoint").read_bytes())
    publics = worker.trust().log_keys_of(checkpoint.log)
    signers = notes.signers(checkpoint, publics)
    assert len(signers) == len(checkpoint.signatures)
    return signers


async def test_while_one_log_key_takes_over_both_sign(worker: Worker, follower: Follower) -> None:
    async with worker.running() as ledger:
        await ledger.append("decision", decision(1))
        follower.round()
        old = keys.public_key(ledgers.LOG_SEED)
        assert lines(worker) == [old]
        new = worker.rotate("log", overlap_until="9999-01-01T00:00:00.000000Z")
        await ledger.append("decision", decision(2))
        follower.round()
        assert lines(worker) == [old, new.public]
        assert ledgers.check(worker.root).verified, "who pins the old one alone still verifies"


async def test_after_that_the_new_one_signs_alone(worker: Worker, follower: Follower) -> None:
    async with worker.running() as ledger:
        await ledger.append("decision", decision(1))
        follower.round()
        new = worker.rotate("log", overlap_until="2026-01-01T00:00:00.000000Z")
        await ledger.append("decision", decision(2))
        follower.round()
        assert lines(worker) == [new.public]
    follower.again()
    follower.round()
    assert sealed(worker) == 4


async def test_an_epoch_that_was_sealed_by_the_old_key_stays_as_it_is(
    worker: Worker, follower: Follower
) -> None:
    async with worker.running() as ledger:
        await ledger.append("decision", decision(1))
    follower.round()
    worker.rotate("log")
    async with worker.running() as ledger:
        await ledger.append("decision", decision(2))
    follower.again()
    follower.round()
    assert [sealed(worker, epoch) for epoch in (0, 1)] == [3, 3]


async def test_a_log_key_is_rotated_while_a_worker_was_killed(worker: Worker, follower: Follower) -> None:
    async with worker.doomed() as ledger:
        await ledger.append("decision", decision(1))
    follower.round()
    worker.rotate("log")
    async with worker.running():
        pass
    follower.round()
    assert worker.kinds() == ["open", "decision", "recovery", "close"]


async def test_a_key_file_that_others_may_read_stops_sealing_until_it_is_put_right(
    worker: Worker, follower: Follower
) -> None:
    async with worker.running() as ledger:
        await ledger.append("decision", decision(1))
        worker.rotate("log")
        file = worker.state / "keys" / "log.key"
        file.chmod(0o640)
        with pytest.raises(EvidenceUnavailable, match=f"{file}: others may read it"):
            follower.round()
        file.chmod(0o600)
        follower.round()
        assert sealed(worker) == 2


async def test_a_revoked_log_key_does_not_sign_beside_the_new_one(worker: Worker, follower: Follower) -> None:
    async with worker.running() as ledger:
        new = worker.rotate("log", overlap_until="9999-01-01T00:00:00.000000Z")
        worker.revoke("log", keys.thumbprint(keys.public_key(ledgers.LOG_SEED)))
        await ledger.append("decision", decision(1))
        follower.round()
        assert lines(worker) == [new.public]
