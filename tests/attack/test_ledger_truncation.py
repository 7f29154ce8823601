"""The end of a log is cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import ledgers

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"


def cut(epoch: Path, length: int) -> None:
    file = epoch / "entries" / "00000000.jsonl"
    file.write_bytes(file.read_bytes()[:length])


def ends(epoch: Path) -> list[int]:
    """Where each entry ends, with its newline."""
    found, end = [], 0
    for entry in ledgers.read(epoch):
        end += len(entry) + 1
        found.append(end)
    return found


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_tail_cut_below_the_checkpoint_is_found_wherever_it_was_cut(tmp_path: Path, level: int) -> None:
    epoch = ledgers.write(tmp_path, 5)
    places = ends(epoch)
    for length in (places[3], places[3] + 1, places[4] - 2, places[4] - 1, places[0], 0):
        ledgers.store(epoch, list(ledgers.chain(ledgers.story(5), LOG)))
        assert ledgers.check(tmp_path, level).verified
        cut(epoch, length)
        left = sum(place <= length for place in places)
        fault = ledgers.found(tmp_path, level)
        assert "its checkpoint covers 5 entries" in fault.what
        assert (fault.line, fault.seq) == (left + 1, left)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_all_entries_gone_are_missed(tmp_path: Path, level: int) -> None:
    epoch = ledgers.write(tmp_path, 2)
    (epoch / "entries" / "00000000.jsonl").unlink()
    assert "covers 2" in ledgers.found(tmp_path, level).what
    (epoch / "entries").rmdir()
    assert "covers 2" in ledgers.found(tmp_path, level).what


def test_a_tail_cut_above_the_checkpoint_cannot_be_missed_and_the_report_says_what_is_sealed(
    tmp_path: Path,
) -> None:
    """Only who has seen more than the checkpoint can tell: a later epoch, the worker's store, a witness."""
    epoch = ledgers.write(tmp_path, 5)
    ledgers.seal(epoch, LOG, 3)
    cut(epoch, ends(epoch)[3])
    report = ledgers.check(tmp_path)
    assert report.verified
    assert (report.logs[0].sealed, report.logs[0].unsealed) == (3, 1)


def test_a_tail_cut_above_the_checkpoint_is_missed_by_the_next_epoch(tmp_path: Path) -> None:
    old = ledgers.write(tmp_path, 5)
    ledgers.seal(old, LOG, 3)
    ledgers.follow(tmp_path, old)
    assert ledgers.check(tmp_path).verified
    cut(old, ends(old)[3])
    for level in (2, 3):
        assert ledgers.found(tmp_path, level).what == f"previous_size: 5, but {LOG} holds 4 entries"


def test_an_unfinished_line_that_something_has_followed_is_a_fault(tmp_path: Path) -> None:
    old = ledgers.write(tmp_path, 5)
    ledgers.follow(tmp_path, old)
    cut(old, ends(old)[4])
    with (old / "entries" / "00000000.jsonl").open("ab") as file:
        file.write(b'{"agent_id":"x')
    for level in (2, 3):
        fault = ledgers.found(tmp_path, level)
        assert "is not ended" in fault.what
        assert (fault.line, fault.seq) == (6, 5)


def test_a_gap_that_names_other_bytes_does_not_excuse_it(tmp_path: Path) -> None:
    old = ledgers.write(tmp_path, 5)
    with (old / "entries" / "00000000.jsonl").open("ab") as file:
        file.write(b'{"agent_id":"x')
    for said in ({"good_entries": 5, "torn_bytes": 13}, {"good_entries": 4, "torn_bytes": 14}, {}):
        gap = {"kind": "gap", "old_log": LOG, "why": "power"} | said
        ledgers.write(tmp_path, iter([{"kind": "open"}, gap]), epoch=ledgers.LATER_EPOCH)
        assert "is not ended" in ledgers.found(tmp_path).what


def test_bytes_after_close_are_no_unfinished_write(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 3, closed=True)
    with (epoch / "entries" / "00000000.jsonl").open("ab") as file:
        file.write(b"{")
    for level in (2, 3):
        assert ledgers.found(tmp_path, level).what == "bytes after `close`"


def test_a_whole_entry_that_ends_in_another_byte_is_no_unfinished_write(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 3, sealed=False)
    file = epoch / "entries" / "00000000.jsonl"
    file.write_bytes(file.read_bytes()[:-1] + b"\r")
    fault = ledgers.found(tmp_path)
    assert "newline" in fault.what
    assert fault.line == 3
