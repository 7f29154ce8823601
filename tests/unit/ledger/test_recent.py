"""What is newest in ledgers, and what comes: each whole line once, in order, never half of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from authz.errors import IntegrityViolation
from authz.ledger import recent
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name
from authz.ledger.recent import Cursor, Watch


@pytest.fixture(params=[1 << 20, 16_390, 16_385])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """However much is read at once."""
    monkeypatch.setattr(recent, "CHUNK", request.param)
    return int(request.param)


def put(epoch: Path, data: bytes, segment: int = 0) -> Path:
    """Append `data` as a worker does."""
    file = epoch / "entries" / segment_name(segment * SEGMENT_ENTRIES)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as stream:
        stream.write(data)
    return file


def lines(first: int, count: int, width: int = 900) -> list[bytes]:
    return [f"{number:0{width}}".encode() for number in range(first, first + count)]


def joined(entries: list[bytes]) -> bytes:
    return b"".join(entry + b"\n" for entry in entries)


def all_back(watch: Watch) -> list[list[bytes]]:
    return [list(worker) for worker in watch.back()]


@pytest.mark.usefixtures("chunk")
def test_what_was_there_is_given_backwards_over_segments_and_epochs(tmp_path: Path) -> None:
    entries = lines(0, 90)
    old, new = tmp_path / "w" / "2026a", tmp_path / "w" / "2026b"
    put(old, joined(entries[:20]))
    put(old, joined(entries[20:50]), segment=1)
    put(new, joined(entries[50:]) + b"half a li")
    assert all_back(Watch(tmp_path)) == [entries[::-1]]
    assert all_back(Watch(old)) == [entries[:50][::-1]]


@pytest.mark.usefixtures("chunk")
def test_what_comes_is_given_once_and_only_when_its_newline_is_there(tmp_path: Path) -> None:
    epoch = tmp_path / "w" / "a"
    put(epoch, b"old\nbeg")
    watch = Watch(tmp_path)
    assert list(watch.news()) == []
    put(epoch, b"un\nnext")
    assert list(watch.news()) == [b"begun"]
    more = lines(0, 60)
    put(epoch, b"\n" + joined(more))
    assert list(watch.news()) == [b"next", *more]
    assert list(watch.news()) == []
    assert all_back(watch) == [[*more[::-1], b"next", b"begun", b"old"]]


def test_a_line_is_taken_once_although_the_reader_stops_in_between(tmp_path: Path) -> None:
    epoch = tmp_path / "w" / "a"
    put(epoch, b"")
    watch = Watch(tmp_path)
    put(epoch, b"1\n2\n3\n")
    assert next(watch.news()) == b"1"
    assert list(watch.news()) == [b"2", b"3"]


def test_new_segments_epochs_and_workers_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "w" / "a", b"old\n")
    watch = Watch(tmp_path)
    put(tmp_path / "w" / "a", b"1\n")
    put(tmp_path / "w" / "a", b"2\n", segment=1)
    assert list(watch.news()) == [b"1", b"2"]
    put(tmp_path / "w" / "a", b"3\n", segment=1)
    put(tmp_path / "w" / "0", b"4\n")  # even where the clock went back
    put(tmp_path / "x" / "a", b"5\n")
    assert sorted(watch.news()) == [b"3", b"4", b"5"]


def test_a_log_without_entries_yet_is_followed_from_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "w" / "a" / "entries").mkdir(parents=True)
    watch = Watch(tmp_path)
    assert all_back(watch) == [[]]
    put(tmp_path / "w" / "a", b"1\n")
    assert list(watch.news()) == [b"1"]


def test_every_worker_is_given_by_itself(tmp_path: Path) -> None:
    put(tmp_path / "w" / "a", b"1\n2\n")
    put(tmp_path / "x" / "a", b"3\n")
    assert sorted(all_back(Watch(tmp_path))) == [[b"2", b"1"], [b"3"]]


def test_a_file_that_shrinks_is_a_violation(tmp_path: Path) -> None:
    file = put(tmp_path / "w" / "a", b"1\n2\n")
    watch = Watch(tmp_path)
    file.write_bytes(b"1\n")
    with pytest.raises(IntegrityViolation, match=r"00000000\.jsonl: shorter"):
        list(watch.news())


@pytest.mark.usefixtures("chunk")
def test_what_is_too_long_for_a_line_is_a_violation(tmp_path: Path) -> None:
    epoch, long = tmp_path / "w" / "a", b"x" * 16_385
    put(epoch, b"1\n")
    watch = Watch(tmp_path)
    put(epoch, long)
    with pytest.raises(IntegrityViolation, match="longer than 16384"):
        list(watch.news())
    with pytest.raises(IntegrityViolation, match="longer than 16384"):
        Cursor.at_end(epoch)


def test_a_link_in_place_of_a_segment_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    entries = tmp_path / "logs" / "w" / "a" / "entries"
    entries.mkdir(parents=True)
    (entries / segment_name(0)).symlink_to(secret)
    watch = Watch(tmp_path / "logs")
    with pytest.raises(OSError, match="symbolic"):
        read_all(watch.news())


def read_all(entries: Iterator[bytes]) -> None:
    assert not list(entries)
