"""What is said of ledgers that are right, unfinished, or not to be judged. Attacks are in tests/attack."""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from authz.ledger import keys, merkle, notes, verify
from authz.ledger.journal import SEGMENT_ENTRIES
from authz.ledger.report import EXPOSURE, LogReport
from authz.ledger.trust import Trust
from tests import ledgers


@pytest.fixture(scope="module")
def many_segments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An epoch of two full segments and a bit, for level 2. Tests leave it as it was."""
    root = tmp_path_factory.mktemp("long")
    yield ledgers.write_long(root, 2 * SEGMENT_ENTRIES + 3)
    shutil.rmtree(root)


def only(path: Path, level: int = 3) -> LogReport:
    """The report of the one log below `path`, which must verify."""
    report = ledgers.check(path, level)
    assert report.verified, report.first_fault
    (log,) = report.logs
    return log


@pytest.mark.parametrize("level", [1, 2, 3])
def test_the_published_ledger_verifies_with_the_published_root(tmp_path: Path, level: int) -> None:
    epoch, pinned = ledgers.published(tmp_path)
    expected = json.loads((epoch / "expected.json").read_bytes())
    for path in (tmp_path, tmp_path / "worker-0", epoch, ledgers.VECTORS):
        report = ledgers.check(path, level, pinned)
        assert report.verified, report.first_fault
        assert report.logs[0].log == expected["vkey"].partition("+")[0]
        assert report.logs[0].entries == report.logs[0].sealed == expected["size"]
        assert report.logs[0].root == b64decode(expected["root_base64"]).hex()


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 8, 33])
def test_a_sealed_log_verifies_at_every_level(tmp_path: Path, level: int, size: int) -> None:
    ledgers.write(tmp_path, size)
    log = only(tmp_path, level)
    assert (log.entries, log.sealed, log.unsealed, log.torn_bytes) == (size, size, 0, 0)


def test_what_was_not_checked_is_said(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 3)
    (epoch / "tile").mkdir()
    (epoch / "entries" / "00000000.torn-3-0").write_bytes(b"{")
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    (epoch / "checkpoint").write_bytes(
        (epoch / "checkpoint").read_bytes() + "— witness.example/w AAAAAAAA\n".encode()
    )
    pinned = Trust(ledgers.TRUST.log_keys, ledgers.TRUST.record_keys, unused=("witnesses",))
    levels = {level: ledgers.check(tmp_path, level, pinned) for level in (1, 2, 3)}
    assert all(report.verified for report in levels.values())
    assert levels[3].exposure == EXPOSURE
    for words in (
        "witnesses of the trust file",
        "completeness",
        "an entry says",
        "elsewhere: a symbolic link",
    ):
        assert any(words in line for line in levels[3].not_checked), words
    assert any("attestations" in line for line in levels[2].not_checked)
    assert any("chain" in line for line in levels[1].not_checked)
    (log,) = levels[3].logs
    assert log.not_checked == (
        "entries/00000000.torn-3-0",
        "tile/: what is no tile of these entries",
        "1 more signatures under the checkpoint",
    )


def test_entries_after_the_checkpoint_are_verified_and_reported_as_not_yet_sealed(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 5)
    ledgers.seal(epoch, f"{ledgers.WORKER}/{epoch.name}", 2)
    for level in (1, 2, 3):
        log = only(tmp_path, level)
        assert (log.entries, log.sealed, log.unsealed) == (5, 2, 3)


def test_a_log_without_a_checkpoint_is_vouched_for_by_attestations_only(tmp_path: Path) -> None:
    ledgers.write(tmp_path, 3, sealed=False)
    assert only(tmp_path).unsealed == 3
    for level in (1, 2):
        assert ledgers.found(tmp_path, level).what.startswith("missing: ")


def test_an_unfinished_write_of_a_living_writer_is_reported_and_no_fault(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 3)
    whole = ledgers.line(ledgers.decision(3), f"{ledgers.WORKER}/{epoch.name}", 3, "0" * 64)
    file = epoch / "entries" / "00000000.jsonl"
    stored = file.read_bytes()
    for length in (1, 100, len(whole) - 1, len(whole)):
        file.write_bytes(stored + whole[:length])
        for level in (1, 2, 3):
            log = only(tmp_path, level)
            assert (log.entries, log.torn_bytes) == (3, length)


def test_a_log_that_has_just_been_made_is_empty(tmp_path: Path) -> None:
    epoch = tmp_path / "worker-0" / ledgers.EPOCH
    (epoch / "entries").mkdir(parents=True)
    assert only(tmp_path).entries == 0
    (epoch / "entries" / "00000000.jsonl").touch()
    assert only(tmp_path).entries == 0


def test_a_closed_log_and_its_successor_verify_together(tmp_path: Path) -> None:
    old = ledgers.write(tmp_path, 4, closed=True)
    ledgers.follow(tmp_path, old)
    report = ledgers.check(tmp_path)
    assert report.verified, report.first_fault
    assert [log.closed for log in report.logs] == [True, False]
    assert all(not log.not_checked for log in report.logs)


def test_a_missing_previous_log_is_reported_as_not_checked(tmp_path: Path) -> None:
    old = ledgers.write(tmp_path, 4, closed=True)
    ledgers.follow(tmp_path, old)
    shutil.rmtree(old)
    assert only(tmp_path).not_checked == (f"previous log {ledgers.WORKER}/{old.name}: it is not here",)


def test_gaps_are_reported_with_what_they_say(tmp_path: Path) -> None:
    gap = {"kind": "gap", "old_log": "aegis.test/worker-0/lost", "good_entries": 7, "why": "power failed"}
    ledgers.write(tmp_path, iter([{"kind": "open"}, gap, gap, {"kind": "heartbeat"}]))
    log = only(tmp_path)
    assert [(item.seq, item.old_log, item.good_entries, item.why) for item in log.gaps] == [
        (1, "aegis.test/worker-0/lost", 7, "power failed"),
        (2, "aegis.test/worker-0/lost", 7, "power failed"),
    ]
    assert log.not_checked == ("log aegis.test/worker-0/lost, which `gap` names: it is not here",)


def test_a_flood_of_gaps_is_counted_and_bounded(tmp_path: Path) -> None:
    gaps = [{"kind": "gap", "why": ["not", "a", "string"], "good_entries": True}] * 150
    ledgers.write(tmp_path, iter([{"kind": "open"}, *gaps]))
    log = only(tmp_path)
    assert (len(log.gaps), log.gap_count) == (100, 150)


def test_a_torn_line_that_a_later_gap_names_is_no_fault(tmp_path: Path) -> None:
    """A machine that lost power leaves one; the next epoch says so, or the one after it."""
    old = ledgers.write(tmp_path, 3)
    with (old / "entries" / "00000000.jsonl").open("ab") as file:
        file.write(b'{"agent')
    said = {"kind": "gap", "old_log": f"{ledgers.WORKER}/{old.name}", "good_entries": 3, "torn_bytes": 7}
    later = ledgers.follow(tmp_path, old)
    assert "is not ended" in ledgers.found(tmp_path).what
    opening = {name: value for name, value in ledgers.members(later)[0].items() if name.startswith("prev")}
    ledgers.write(
        tmp_path, iter([{"kind": "open"} | opening, {"kind": "gap"}, said]), epoch=ledgers.LATER_EPOCH
    )
    report = ledgers.check(tmp_path)
    assert report.verified, report.first_fault
    assert report.logs[0].torn_bytes == 7


def test_logs_of_different_workers_need_no_order(tmp_path: Path) -> None:
    ledgers.write(tmp_path, 2)
    other = tmp_path / "worker-1" / ledgers.EPOCH
    log = f"aegis.test/worker-1/{ledgers.EPOCH}"
    ledgers.store(other, list(ledgers.chain(ledgers.story(2), log)))
    ledgers.seal(other, log)
    assert "no key is pinned" in ledgers.found(tmp_path).what
    public = keys.public_key(ledgers.LOG_SEED)
    pinned = Trust({"aegis.test/worker-1/": (public,)} | ledgers.TRUST.log_keys, ledgers.TRUST.record_keys)
    assert ledgers.check(tmp_path, pinned=pinned).verified


def test_a_report_is_plain_data(tmp_path: Path) -> None:
    ledgers.write(tmp_path, 2)
    tree = json.loads(msgspec.json.encode(ledgers.check(tmp_path)))
    assert tree["verified"] is True
    assert tree["logs"][0]["entries"] == 2


def test_nothing_is_said_where_there_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no log here"):
        ledgers.check(tmp_path)
    with pytest.raises(FileNotFoundError):
        ledgers.check(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        ledgers.check(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_nothing_is_said_of_what_cannot_be_read(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 2)
    (epoch / "entries" / "00000000.jsonl").chmod(0)
    with pytest.raises(PermissionError):
        ledgers.check(tmp_path)


def test_nothing_is_said_of_what_lies_too_deep_to_be_a_ledger(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 20)
    deep.mkdir(parents=True)
    with pytest.raises(OSError, match="directories deep"):
        ledgers.check(tmp_path)


def test_a_log_over_several_segments_is_one_chain_and_one_tree(many_segments: Path) -> None:
    """Walked one after the other and in two processes: the same report, and the root of the definition."""
    stored = sum(file.stat().st_size for file in (many_segments / "entries").iterdir())
    assert stored > verify.PARALLEL_FROM  # or no process would be started
    one = verify.verify(many_segments, ledgers.TRUST, 2)
    two = verify.verify(many_segments, ledgers.TRUST, 2, processes=2)
    assert one == two
    assert one.verified, one.first_fault
    (log,) = one.logs
    assert log.entries == 2 * SEGMENT_ENTRIES + 3
    assert log.root == merkle.root([merkle.leaf_hash(entry) for entry in ledgers.read(many_segments)]).hex()


@pytest.mark.parametrize("size", [1, SEGMENT_ENTRIES - 1, SEGMENT_ENTRIES, SEGMENT_ENTRIES + 1])
def test_a_checkpoint_may_end_anywhere(many_segments: Path, size: int) -> None:
    log = f"{ledgers.WORKER}/{ledgers.EPOCH}"
    leaves = [merkle.leaf_hash(entry) for entry in ledgers.read(many_segments)[:size]]
    stored = (many_segments / "checkpoint").read_bytes()
    (many_segments / "checkpoint").write_bytes(notes.sign(log, size, merkle.root(leaves), ledgers.LOG_SEED))
    report = verify.verify(many_segments, ledgers.TRUST, 1)
    (many_segments / "checkpoint").write_bytes(stored)
    assert report.verified, report.first_fault
    assert report.logs[0].sealed == size
