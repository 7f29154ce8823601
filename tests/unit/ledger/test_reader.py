"""Finding entries: by decision, by place, from a position; what cannot be an entry is never passed over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from authz.errors import IntegrityViolation
from authz.ledger import files, merkle, reader
from authz.ledger.journal import SEGMENT_ENTRIES
from tests import ledgers

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"


@pytest.fixture
def epoch(tmp_path: Path) -> Path:
    return ledgers.write(tmp_path, 5)


def file(epoch: Path) -> Path:
    return epoch / "entries" / "00000000.jsonl"


def test_entries_come_in_order_with_their_places(epoch: Path) -> None:
    stored = ledgers.read(epoch)
    found = list(reader.entries(epoch))
    assert [item.entry for item in found] == stored
    assert [(item.file, item.line, item.seq) for item in found] == [
        (file(epoch), seq + 1, seq) for seq in range(5)
    ]
    assert [item.entry_hash for item in found] == [merkle.leaf_hash(entry).hex() for entry in stored]
    assert ledgers.check(epoch).verified


@pytest.mark.parametrize("first", range(7))
def test_reading_goes_on_from_a_position(epoch: Path, first: int) -> None:
    assert [item.seq for item in reader.entries(epoch, first)] == list(range(first, 5))


def test_an_unfinished_line_is_no_entry_until_it_is_finished(epoch: Path) -> None:
    entry = ledgers.line(ledgers.decision(5), LOG, 5, merkle.leaf_hash(ledgers.read(epoch)[4]).hex())
    with file(epoch).open("ab") as stream:
        stream.write(entry)
        stream.flush()
        assert not list(reader.entries(epoch, 5))
        stream.write(b"\n")
        stream.flush()
        assert [item.entry for item in reader.entries(epoch, 5)] == [entry]
    assert ledgers.check(epoch).verified


def test_a_later_segment_is_found_without_reading_the_ones_before(tmp_path: Path) -> None:
    epoch = ledgers.write_long(tmp_path, SEGMENT_ENTRIES + 2)
    (found,) = reader.by_seq(tmp_path, SEGMENT_ENTRIES + 1)
    assert (found.file.name, found.line, found.seq) == ("00000001.jsonl", 2, SEGMENT_ENTRIES + 1)
    assert found.members()["seq"] == SEGMENT_ENTRIES + 1
    file(epoch).write_bytes(b"x" * 20_000)  # of no interest
    assert next(reader.entries(epoch, SEGMENT_ENTRIES)).line == 1
    file(epoch).unlink()


def test_a_decision_is_found_in_whatever_epoch_it_is(tmp_path: Path, epoch: Path) -> None:
    ledgers.write(tmp_path, iter([{"kind": "open"}, ledgers.decision(77)]), epoch=ledgers.LATER_EPOCH)
    for number, where in ((2, ledgers.EPOCH), (77, ledgers.LATER_EPOCH)):
        wanted = ledgers.decision(number)["decision_id"]
        found = reader.by_decision(tmp_path, wanted)
        assert found is not None
        assert found.members()["decision_id"] == wanted
        assert where in str(found.file)
    assert reader.by_decision(tmp_path, "019b7690-ffff-7000-8000-000000000000") is None
    assert reader.by_decision(tmp_path, '"') is None


def test_only_a_decision_s_own_entry_is_it(tmp_path: Path) -> None:
    """Other entries name decisions too, and an agent may put an id into what it sends."""
    wanted = ledgers.decision(3)
    named = {"decision_id": wanted["decision_id"]}
    said = [
        {"kind": "open"},
        {"kind": "outcome"} | named,
        ledgers.decision(1) | {"context": named},
        wanted,
    ]
    ledgers.write(tmp_path, iter(said))
    found = reader.by_decision(tmp_path, wanted["decision_id"])
    assert found is not None
    assert found.seq == 3


def test_a_place_is_found_in_the_log_that_is_meant(tmp_path: Path, epoch: Path) -> None:
    ledgers.write(tmp_path, 3, epoch=ledgers.LATER_EPOCH)
    assert len(reader.by_seq(tmp_path, 2)) == 2
    for name in (LOG, ledgers.EPOCH, f"worker-0/{ledgers.EPOCH}"):
        (found,) = reader.by_seq(tmp_path, 2, name)
        assert found.members()["log"] == LOG
    assert not reader.by_seq(tmp_path, 2, "0/" + ledgers.EPOCH)
    assert len(reader.by_seq(tmp_path, 4)) == 1
    assert not reader.by_seq(tmp_path, 5)


def test_a_line_that_cannot_be_an_entry_is_named(epoch: Path) -> None:
    ledgers.edit(epoch, lambda entries: entries.__setitem__(2, b"x" * 20_000))
    with pytest.raises(IntegrityViolation, match=r"line 3, seq 2: longer than 16384 bytes"):
        list(reader.entries(epoch))
    ledgers.edit(epoch, lambda entries: entries.__setitem__(2, b"{ }"))
    found = list(reader.entries(epoch))
    with pytest.raises(IntegrityViolation, match=r"line 3, seq 2: not in canonical form"):
        found[2].members()


def test_a_line_over_the_limit_is_none_even_if_it_is_the_last(epoch: Path) -> None:
    with file(epoch).open("ab") as stream:
        stream.write(b"x" * 16_385)
    with pytest.raises(IntegrityViolation, match="line 6, seq 5"):
        list(reader.entries(epoch))


def test_a_missing_segment_ends_the_reading_loudly(epoch: Path) -> None:
    file(epoch).rename(epoch / "entries" / "00000001.jsonl")
    with pytest.raises(IntegrityViolation, match=r"00000000\.jsonl, seq 0: missing"):
        list(reader.entries(epoch))


def _lose_a_segment(epoch: Path) -> None:
    file(epoch).rename(epoch / "entries" / "00000001.jsonl")


def _garble(epoch: Path) -> None:
    ledgers.edit(epoch, lambda entries: entries.__setitem__(0, b"x" * 20_000))


def _close_off(epoch: Path) -> None:
    file(epoch).unlink()
    file(epoch).symlink_to("/nowhere")


@pytest.mark.parametrize("break_it", [_lose_a_segment, _garble, _close_off])
def test_a_fault_in_one_log_hides_no_entry_of_another(
    tmp_path: Path, epoch: Path, break_it: Callable[[Path], None]
) -> None:
    later = ledgers.write(tmp_path, 3, epoch=ledgers.LATER_EPOCH)
    break_it(later)
    wanted = ledgers.decision(4)["decision_id"]
    found = reader.by_decision(tmp_path, wanted)
    assert found is not None
    assert (found.file, found.seq) == (file(epoch), 4)
    assert [item.file for item in reader.by_seq(tmp_path, 2, LOG)] == [file(epoch)]
    with pytest.raises(IntegrityViolation, match=str(later)):
        reader.by_seq(tmp_path, 2)  # of every log, and this one may have it


@pytest.mark.parametrize("break_it", [_lose_a_segment, _garble, _close_off])
def test_where_nothing_is_found_a_fault_says_why(
    tmp_path: Path, epoch: Path, break_it: Callable[[Path], None]
) -> None:
    later = ledgers.write(tmp_path, 3, epoch=ledgers.LATER_EPOCH)
    break_it(later)
    with pytest.raises(IntegrityViolation, match=str(later)):
        reader.by_decision(tmp_path, "019b7690-ffff-7000-8000-000000000000")
    with pytest.raises(IntegrityViolation, match=str(later)):
        reader.by_seq(tmp_path, 7)


def test_a_log_that_cannot_be_read_hides_no_entry_of_another(
    tmp_path: Path, epoch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = ledgers.write(tmp_path, 3, epoch=ledgers.LATER_EPOCH)
    real = files.open_regular

    def unreadable(path: Path) -> BinaryIO:
        if path == file(later):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(files, "open_regular", unreadable)
    found = reader.by_decision(tmp_path, ledgers.decision(4)["decision_id"])
    assert found is not None
    assert len(reader.by_seq(tmp_path, 2, LOG)) == 1
    with pytest.raises(PermissionError):
        reader.by_decision(tmp_path, "019b7690-ffff-7000-8000-000000000000")
