"""What a start makes of what the last process left: go on, begin anew, say what is lost, or stop."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from authz.errors import IntegrityViolation
from authz.ledger import keys, machine
from authz.ledger.journal import FAILED, Disk
from authz.ledger.recovery import mark_failed
from tests import ledgers
from tests.workers import Entry, Worker, decision


async def run(worker: Worker, *numbers: int, **how: Any) -> None:
    """A worker's whole life: start, some decisions, stop."""
    async with worker.running(**how) as ledger:
        for number in numbers:
            await ledger.append("decision", decision(number))


async def die(worker: Worker, *numbers: int, **how: Any) -> None:
    """The same without a stop."""
    async with worker.doomed(**how) as ledger:
        for number in numbers:
            await ledger.append("decision", decision(number))


def tear(worker: Worker, data: bytes = b'{"agent_id":"bil') -> None:
    """Leave an unfinished write at the end of the newest segment."""
    with worker.segment().open("ab") as file:
        file.write(data)


def gaps(worker: Worker) -> list[tuple[str, int, str]]:
    """(old log, good entries, why) of the gaps that the newest epoch begins with."""
    found = []
    for entry in worker.history()[-1][1:]:
        if entry["kind"] != "gap":
            break
        found.append((entry["old_log"], entry["good_entries"], entry["why"]))
    return found


def log_of(epoch: Path) -> str:
    return f"aegis.test/worker-0/{epoch.name}"


# -- a new epoch, an epoch that goes on


async def test_the_first_start_opens_an_epoch_that_names_its_keys_and_place(worker: Worker) -> None:
    await run(worker)
    (entries,) = worker.check()
    opened = entries[0]
    assert opened["kind"] == "open"
    assert opened["boot_id"] == machine.boot_id()
    assert opened["directory_id"] == machine.directory_id(worker.epochs[0])
    assert opened["log_vkey"] == keys.vkey(opened["log"], keys.public_key(ledgers.LOG_SEED))
    assert opened["record_keys"] == [keys.jwk(keys.public_key(ledgers.RECORD_SEED))]
    assert "previous_log" not in opened


async def test_after_a_close_a_new_epoch_names_the_old_one_with_its_size_and_root(worker: Worker) -> None:
    await run(worker, 1, 2)
    await run(worker)
    first, second = worker.check()
    assert [entry["kind"] for entry in second] == ["open", "close"]
    assert second[0]["previous_log"] == first[0]["log"]
    assert second[0]["previous_size"] == len(first) == 4
    assert second[0]["previous_root"] == ledgers.check(worker.root).logs[0].root


async def test_after_a_kill_on_the_same_boot_the_epoch_goes_on(worker: Worker) -> None:
    await die(worker, 1)
    await run(worker, 2)
    assert len(worker.epochs) == 1
    assert worker.kinds() == ["open", "decision", "recovery", "decision", "close"]
    assert worker.history()[0][2]["size"] == 2


@pytest.mark.parametrize("torn", [b"{", b'{"agent_id":"bil', b"\x00" * 4096, b"x" * 16_384])
async def test_an_unfinished_line_is_cut_kept_beside_and_said(worker: Worker, torn: bytes) -> None:
    await die(worker, 1)
    tear(worker, torn)
    await run(worker)
    recovered = worker.check()[0][2]
    assert (recovered["kind"], recovered["cut_bytes"]) == ("recovery", len(torn))
    assert (worker.segment().parent / recovered["cut_file"]).read_bytes() == torn


async def test_lines_cut_at_the_same_place_do_not_replace_each_other(worker: Worker) -> None:
    await die(worker, 1)
    for torn in (b"first", b"second"):
        tear(worker, torn)
        with pytest.raises(KeyboardInterrupt):
            worker.open(boot_id=machine.boot_id, disk=_Dies())
    await run(worker)
    kept = sorted(worker.segment().parent.glob("*.torn-2-*"))
    assert [file.read_bytes() for file in kept] == [b"first", b"second"]
    recovered = worker.check()[0][2]
    assert recovered["cut_file"] == kept[-1].name  # said by the first start that lived to say it


class _Dies(Disk):
    """Is interrupted right after the cut, before anything is said."""

    def truncate(self, fd: int, size: int) -> None:
        super().truncate(fd, size)
        raise KeyboardInterrupt


async def test_epochs_sort_after_each_other_though_the_clock_steps_back(worker: Worker) -> None:
    for second in (2_000_000_000, 1_000_000_000, 1_500_000_000):
        await run(worker, clock_ns=lambda second=second: second * 1_000_000_000)
    opened = [entries[0]["log"] for entries in worker.check()]
    assert len(opened) == 3
    for before, after in zip(worker.check(), worker.check()[1:], strict=False):
        assert after[0]["previous_log"] == before[0]["log"]


# -- gaps


async def test_after_the_machine_stopped_a_new_epoch_says_so(worker: Worker) -> None:
    await die(worker, 1, boot_id=lambda: "before")
    await run(worker)
    (old, _) = worker.epochs
    assert gaps(worker) == [(log_of(old), 2, "the machine stopped without closing the log")]
    assert worker.kinds() == ["open", "gap", "close"]


async def test_a_line_torn_when_the_machine_stopped_stays_where_it_is_and_is_counted(worker: Worker) -> None:
    await die(worker, 1, boot_id=lambda: "before")
    tear(worker)
    before = worker.segment().read_bytes()
    await run(worker)
    assert worker.segment(0).read_bytes() == before
    gap = ledgers.check(worker.root).logs[1].gaps[0]
    assert (gap.good_entries, ledgers.check(worker.root).verified) == (2, True)
    worker.judged = True  # the oracle wants every line ended


async def test_after_a_failed_sync_the_epoch_is_left_as_it_is(worker: Worker) -> None:
    await die(worker, 1)
    mark_failed(worker.epochs[0], "sync: Input/output error", Disk())
    assert (worker.epochs[0] / FAILED).read_text() == "sync: Input/output error\n"
    await run(worker)
    assert gaps(worker) == [(log_of(worker.epochs[0]), 2, "a sync failed")]


async def test_a_restored_directory_is_not_gone_on_with(worker: Worker) -> None:
    await die(worker, 1)
    epoch = worker.epochs[0]
    shutil.copytree(epoch, epoch.with_name("copy"))
    shutil.rmtree(epoch)
    epoch.with_name("copy").rename(epoch)
    await run(worker)
    assert gaps(worker) == [(log_of(epoch), 2, "the directory was copied or restored")]


async def test_other_keys_begin_another_epoch(worker: Worker) -> None:
    await die(worker, 1)
    (worker.state / "keys" / "record.key").write_text("07" * 32 + "\n")
    await run(worker)
    assert len(worker.epochs) == 2
    pinned = ledgers.Trust(
        ledgers.TRUST.log_keys, (*ledgers.TRUST.record_keys, keys.public_key(b"\x07" * 32))
    )
    report = ledgers.check(worker.root, pinned=pinned)
    assert report.verified, report.first_fault
    why = f"its record key, {ledgers.SIGNER.kid}, is none of this deployment's"
    assert report.logs[1].gaps[0].why == why
    worker.judged = True  # two keys


async def test_other_keys_after_a_close_are_said_too(worker: Worker) -> None:
    """By hand: a rotation would have listed the old one, or it was never the key of this worker."""
    await run(worker, 1)
    (worker.state / "keys" / "record.key").write_text("07" * 32 + "\n")
    await run(worker)
    gap = ledgers.members(worker.epochs[1])[1]
    assert gap["why"] == f"its record key, {ledgers.SIGNER.kid}, is none of this deployment's"
    worker.judged = True


async def test_an_entry_forged_onto_the_end_is_not_gone_on_with(worker: Worker) -> None:
    """By somebody who has the disk and not the key: the chain is right, the attestation is not."""
    await die(worker, 1)
    epoch = worker.epochs[0]
    _forge(epoch, {"kind": "decision"} | decision(2))
    worker.judged = True
    await run(worker)
    (gap,) = ledgers.members(worker.epochs[1])[1:-1]
    assert (gap["old_log"], gap["kind"]) == (log_of(epoch), "gap")
    assert gap["why"].startswith("damage: the last good entry is not by the record key in use")


async def test_a_close_forged_onto_the_end_hides_no_gap(worker: Worker) -> None:
    await die(worker, 1, boot_id=lambda: "before")
    _forge(worker.epochs[0], {"kind": "close", "size": 2})
    worker.judged = True
    await run(worker)
    assert ledgers.members(worker.epochs[1])[1]["kind"] == "gap"


def _forge(epoch: Path, members: Entry) -> None:
    stored = ledgers.read(epoch)
    previous = ledgers.merkle.leaf_hash(stored[-1]).hex()
    other = ledgers.Signer(ledgers.OTHER_SEED)
    ledgers.store(epoch, [*stored, ledgers.line(members, log_of(epoch), len(stored), previous, other)])


# -- a start that was killed itself


async def test_an_epoch_in_which_nothing_was_said_is_forgotten(worker: Worker) -> None:
    await run(worker, 1)
    for torn in (None, b"", b'{"kind":"op'):
        unborn = worker.root / "29990101T000000Z-0000000000000000"
        unborn.mkdir()
        if torn is not None:
            (unborn / "entries").mkdir()
            (unborn / "entries" / "00000000.jsonl").write_bytes(torn)
        await run(worker)
        assert not unborn.exists()
        assert worker.kinds() == ["open", "close"]
    assert len(worker.epochs) == 4


@pytest.mark.parametrize("left", ["checkpoint", "disclosures", "entries/00000000.torn-0-0"])
async def test_an_epoch_whose_entries_are_gone_is_not_forgotten(worker: Worker, left: str) -> None:
    await run(worker, 1)
    epoch = worker.root / "29990101T000000Z-0000000000000000"
    (epoch / "entries").mkdir(parents=True)
    (epoch / left).write_bytes(b"something")
    worker.judged = True
    await run(worker)
    gap = ledgers.members(worker.epochs[-1])[1]
    assert (gap["kind"], gap["old_log"], gap["why"]) == ("gap", log_of(epoch), "no entry is there")


async def test_a_gap_that_a_start_did_not_live_to_say_is_said_by_the_next(worker: Worker) -> None:
    await die(worker, 1, boot_id=lambda: "before")
    await die(worker)
    assert worker.kinds() == ["open", "gap"]
    entries = worker.segment().read_bytes().split(b"\n")
    worker.segment().write_bytes(entries[0] + b"\n" + entries[1][:50])
    await run(worker)
    assert len(worker.epochs) == 2
    assert worker.kinds() == ["open", "gap", "recovery", "close"]
    assert gaps(worker) == [(log_of(worker.epochs[0]), 2, "the machine stopped without closing the log")]


async def test_an_epoch_that_has_only_begun_is_not_lost_because_it_was_sealed(worker: Worker) -> None:
    await run(worker, 1)
    await die(worker)
    worker.seal()
    await run(worker)
    assert len(worker.epochs) == 2
    assert worker.kinds() == ["open", "recovery", "close"]


async def test_gaps_of_two_epochs_that_ended_badly_are_both_said(worker: Worker) -> None:
    await die(worker, 1, boot_id=lambda: "first")
    await die(worker, boot_id=lambda: "second")
    worker.segment().write_bytes(worker.segment().read_bytes().split(b"\n")[0] + b"\n")
    await run(worker)
    first, second, _ = worker.epochs
    why = "the machine stopped without closing the log"
    assert gaps(worker) == [(log_of(second), 1, why), (log_of(first), 2, why)]


# -- against what was signed


async def test_a_sealed_epoch_goes_on_and_only_what_is_new_is_read_closely(worker: Worker) -> None:
    await die(worker, 1, 2)
    worker.seal()
    await die(worker, 3)
    worker.seal()
    await run(worker, 4)
    assert len(worker.epochs) == 1
    assert worker.kinds()[-4:] == ["decision", "recovery", "decision", "close"]


async def damaged(worker: Worker, line: int) -> None:
    """An epoch of three decisions, sealed up to the second, killed, with one bit flipped in `line`."""
    await die(worker, 1, 2)
    worker.seal()
    await die(worker, 3)
    stored = ledgers.read(worker.epochs[0])
    stored[line] = stored[line].replace(b"aegis.test", b"aegis.tesu", 1)
    ledgers.store(worker.epochs[0], stored)
    worker.judged = True


@pytest.mark.parametrize("line", [0, 1, 2])
async def test_damage_below_a_checkpoint_stops_until_somebody_says_so(worker: Worker, line: int) -> None:
    await damaged(worker, line)
    before = worker.segment().read_bytes()
    with pytest.raises(IntegrityViolation, match="--accept-damage") as stopped:
        worker.open()
    assert (stopped.value.file, stopped.value.line, stopped.value.seq) == (
        str(worker.segment()),
        line + 1,
        line,
    )
    assert (worker.segment().read_bytes(), len(worker.epochs)) == (before, 1)
    await run(worker, accept_damage=True)
    gap = ledgers.members(worker.epochs[1])[1]
    assert (gap["good_entries"], gap["sealed_entries"]) == (line, 3)
    assert gap["why"].startswith("damage: ")


async def test_damage_above_the_checkpoint_is_a_gap(worker: Worker) -> None:
    await damaged(worker, 4)
    await run(worker)
    gap = ledgers.members(worker.epochs[1])[1]
    assert (gap["kind"], gap["good_entries"], gap["sealed_entries"]) == ("gap", 4, 3)
    assert gap["why"] == "damage: log: not the name of this log"


async def test_a_history_rewritten_below_its_checkpoint_stops_though_it_is_consistent(worker: Worker) -> None:
    """By somebody who has the record key, too: only the checkpoint speaks against it."""
    await die(worker, 1, 2)
    worker.seal()
    worker.judged = True
    ledgers.rechain(worker.epochs[0], lambda all_: all_[1].update(decision="deny"), ledgers.SIGNER)
    assert ledgers.found(worker.root)
    with pytest.raises(IntegrityViolation, match="the root over 3 entries is not the one that was signed"):
        worker.open()
    await run(worker, accept_damage=True)
    assert "not the one that was signed" in ledgers.members(worker.epochs[1])[1]["why"]


async def test_the_checkpoint_beside_the_log_counts_also_without_the_store(worker: Worker) -> None:
    await damaged(worker, 1)
    (worker.state / "checkpoints.sqlite").unlink()
    with pytest.raises(IntegrityViolation):
        worker.open()


@pytest.mark.parametrize("rubbish", [b"", b"rubbish"])
async def test_a_checkpoint_that_is_not_ours_says_nothing(worker: Worker, rubbish: bytes) -> None:
    await die(worker, 1)
    epoch = worker.epochs[0]
    larger = ledgers.notes.sign(log_of(epoch), 1000, bytes(32), ledgers.OTHER_SEED)
    (epoch / "checkpoint").write_bytes(larger + rubbish)
    await run(worker)
    (epoch / "checkpoint").unlink()
    assert worker.epochs == [epoch]
    assert worker.kinds() == ["open", "decision", "recovery", "close"]


async def test_a_disk_rolled_back_below_what_was_sealed_is_a_gap(worker: Worker) -> None:
    await die(worker, 1)
    old = worker.segment().read_bytes()
    async with worker.doomed() as ledger:
        await ledger.append("decision", decision(2))
        worker.seal()
    worker.segment().write_bytes(old)
    worker.judged = True
    await run(worker)
    gap = ledgers.members(worker.epochs[1])[1]
    assert gap["why"] == "rolled back: 4 entries were sealed, the disk holds 2"
    assert (gap["good_entries"], gap["sealed_entries"]) == (2, 4)


async def test_an_empty_disk_is_told_from_a_first_start(worker: Worker) -> None:
    await run(worker, 1)
    worker.seal()
    lost = log_of(worker.epochs[0])
    shutil.rmtree(worker.root)
    await run(worker)
    assert gaps(worker) == [(lost, 0, "this disk does not hold the log")]
    assert worker.epochs[0].name > lost.rpartition("/")[2]
    assert "previous_log" not in worker.history()[0][0]


async def test_a_disk_without_the_newest_epoch_says_which_one(worker: Worker) -> None:
    await run(worker, 1)
    await run(worker, 2)
    worker.seal()
    lost = worker.epochs[1]
    shutil.rmtree(lost)
    await run(worker)
    assert gaps(worker) == [(log_of(lost), 0, "this disk does not hold the log")]
    await run(worker)  # said once
    assert gaps(worker) == []
