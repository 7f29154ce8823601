"""Following an epoch line by line: nothing is taken that is not whole, in its place, and still there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authz.errors import IntegrityViolation
from authz.followers import tail as tailing
from authz.followers.tail import Tail
from authz.ledger import keys, merkle
from authz.ledger.journal import SEGMENT_ENTRIES
from tests import ledgers

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"
OURS = {keys.public_key(ledgers.RECORD_SEED)}.__contains__


@pytest.fixture
def epoch(tmp_path: Path) -> Path:
    return ledgers.write(tmp_path, 9)


@pytest.fixture
def follow(epoch: Path) -> Iterator[Any]:
    made: list[Tail] = []

    def tail(*signed: tuple[int, bytes]) -> Tail:
        made.append(Tail(epoch, LOG, signed, believed=OURS))
        return made[-1]

    yield tail
    for each in made:
        each.close()


def root(epoch: Path, size: int) -> bytes:
    return merkle.root([merkle.leaf_hash(entry) for entry in ledgers.read(epoch)[:size]])


def grow(epoch: Path, data: bytes) -> None:
    with (epoch / "entries" / "00000000.jsonl").open("ab") as file:
        file.write(data)


def cut(epoch: Path, entries: int) -> list[bytes]:
    """Keep the first `entries` lines on disk, in the same file; the lines that were cut."""
    stored = ledgers.read(epoch)
    os.truncate(epoch / "entries" / "00000000.jsonl", sum(len(entry) + 1 for entry in stored[:entries]))
    return stored[entries:]


def violation(tail: Tail) -> IntegrityViolation:
    with pytest.raises(IntegrityViolation) as violated:
        tail.advance()
    return violated.value


def test_every_whole_line_is_taken_once(epoch: Path, follow: Any) -> None:
    later = cut(epoch, 3)
    tail = follow()
    for size, line in enumerate(later, start=3):
        tail.advance()
        assert (tail.size, tail.tree.root()) == (size, root(epoch, size))
        grow(epoch, line[:100])
        tail.advance()
        assert tail.size == size
        grow(epoch, line[100:])
        tail.advance()
        assert tail.size == size
        grow(epoch, b"\n")
    tail.advance()
    assert (tail.size, tail.tree.root()) == (9, root(epoch, 9))


@pytest.mark.parametrize("chunk", [20_000, 1 << 20])
def test_how_much_is_read_at_once_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(tailing, "CHUNK", chunk)
    epoch = ledgers.write(tmp_path, 200)
    tail = Tail(epoch, LOG, believed=OURS)
    tail.advance()
    assert (tail.size, tail.tree.root()) == (200, root(epoch, 200))
    tail.close()


def test_it_goes_on_in_the_next_segment_and_syncs_both(tmp_path: Path) -> None:
    epoch = ledgers.write_long(tmp_path, SEGMENT_ENTRIES + 3)
    tail = Tail(epoch, LOG, believed=OURS)
    tail.advance()
    assert (tail.size, tail.tree.root()) == (SEGMENT_ENTRIES + 3, root(epoch, SEGMENT_ENTRIES + 3))
    assert len(tail._unsynced) == 2
    tail.sync()
    assert (tail._unsynced, tail._fd >= 0) == ([], True)
    tail.close()


@pytest.mark.parametrize("size", [SEGMENT_ENTRIES - 1, SEGMENT_ENTRIES + 1])
def test_a_segment_of_another_length_is_a_violation(tmp_path: Path, size: int) -> None:
    epoch = ledgers.write_long(tmp_path, SEGMENT_ENTRIES + 3)
    stored = ledgers.read(epoch)
    for number, part in enumerate((stored[:size], stored[size:])):
        data = b"".join(entry + b"\n" for entry in part)
        (epoch / "entries" / f"0000000{number}.jsonl").write_bytes(data)
    tail = Tail(epoch, LOG, believed=OURS)
    violated = violation(tail)
    assert violated.seq == min(size, SEGMENT_ENTRIES)
    assert ("more than 65536" if size > SEGMENT_ENTRIES else "the segment ends here") in violated.what
    tail.close()


@pytest.mark.parametrize("line", range(8))
def test_a_changed_entry_is_a_violation_that_says_where(epoch: Path, follow: Any, line: int) -> None:
    """What it says may be anything: the change shows in the link of the entry after it."""
    change(epoch, line)
    violated = violation(follow())
    assert (violated.seq, violated.line) == (line + 1, line + 2)
    assert violated.file == str(epoch / "entries" / "00000000.jsonl")


def change(epoch: Path, line: int) -> None:
    stored = ledgers.read(epoch)
    stored[line] = stored[line].replace(b'"timestamp":"2026', b'"timestamp":"2027', 1)
    ledgers.store(epoch, stored)


@pytest.mark.parametrize("size", [1, 5, 9])
def test_a_root_that_was_signed_must_come_again(epoch: Path, follow: Any, size: int) -> None:
    signed = size, root(epoch, size)
    tail = follow(signed)
    tail.advance()
    tail.check_signed()
    assert tail.size == 9
    change(epoch, size - 1)
    assert f"the root over {size} entries is not the one that was signed" in violation(follow(signed)).what


def test_two_roots_signed_for_one_size_are_a_violation(epoch: Path) -> None:
    with pytest.raises(IntegrityViolation, match="two roots are signed for 5 entries"):
        Tail(epoch, LOG, [(5, bytes(32)), (5, root(epoch, 5))], believed=OURS)


def test_fewer_entries_than_were_signed_are_a_violation(epoch: Path, follow: Any) -> None:
    tail = follow((12, bytes(32)))
    tail.advance()
    with pytest.raises(IntegrityViolation, match="rolled back: 12 entries were sealed, and 9 are there"):
        tail.check_signed()


@pytest.mark.parametrize("kept", [0, 4, 8])
def test_a_segment_that_shrinks_while_it_is_followed_is_a_violation(
    epoch: Path, follow: Any, kept: int
) -> None:
    tail = follow()
    tail.advance()
    cut(epoch, kept)
    assert "shorter than what was read" in violation(tail).what


def test_a_segment_that_is_replaced_while_it_is_followed_is_a_violation(epoch: Path, follow: Any) -> None:
    tail = follow()
    tail.advance()
    file = epoch / "entries" / "00000000.jsonl"
    copy = file.with_suffix(".new")
    copy.write_bytes(file.read_bytes())
    copy.replace(file)
    assert "the segment was replaced" in violation(tail).what


def test_a_segment_that_goes_away_while_it_is_followed_is_a_violation(epoch: Path, follow: Any) -> None:
    tail = follow()
    tail.advance()
    (epoch / "entries" / "00000000.jsonl").unlink()
    assert "the segment is gone" in violation(tail).what


def test_a_missing_segment_is_a_violation(epoch: Path, follow: Any) -> None:
    (epoch / "entries" / "00000000.jsonl").rename(epoch / "entries" / "00000001.jsonl")
    assert "a segment is missing here" in violation(follow()).what


def test_an_entry_after_close_is_a_violation(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 4, closed=True)
    stored = ledgers.read(epoch)
    more = ledgers.line(ledgers.decision(9), LOG, 4, merkle.leaf_hash(stored[-1]).hex())
    for signed in ([], [(4, root(epoch, 4))]):
        tail = Tail(epoch, LOG, signed, believed=OURS)
        tail.advance()
        assert (tail.closed, tail.size) == (True, 4)
        grow(epoch, more + b"\n")
        assert "an entry after `close`" in violation(tail).what
        tail.close()
        cut(epoch, 4)


def test_a_line_that_never_ends_is_a_violation(epoch: Path, follow: Any) -> None:
    grow(epoch, b"x" * 16_385)
    assert "longer than 16384 bytes" in violation(follow()).what


def test_a_line_that_looks_wrong_only_once_is_no_violation(
    epoch: Path, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that takes an unfinished line back and writes another may be read halfway between the two."""
    reads = 0
    real = os.pread

    def between(fd: int, size: int, offset: int) -> bytes:
        nonlocal reads
        reads += 1
        data = real(fd, size, offset)
        return data.replace(b'"seq":3', b'"seq":4', 1) if reads == 1 else data

    monkeypatch.setattr(os, "pread", between)
    tail = follow()
    tail.advance()
    assert (tail.size, tail.tree.root()) == (9, root(epoch, 9))


def test_an_epoch_without_entries_has_none(tmp_path: Path) -> None:
    tail = Tail(tmp_path, LOG, believed=OURS)
    tail.advance()
    tail.sync()
    assert (tail.size, tail.closed) == (0, False)
    tail.close()
