"""The journal on disks that are well, that hang, that fill up and that fail."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from authz.ledger.journal import MAX_UNSYNCED_SEGMENTS, Disk, Journal, Torn
from tests.unit.ledger.disks import FailingDisk, FullDisk, HungDisk, MiserlyDisk

Make = Callable[..., Journal]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Journal] = []

    def journal(disk: Disk | None = None, seq: int = 0) -> Journal:
        made.append(Journal(tmp_path, seq, disk or Disk(), per_segment=3))
        return made[-1]

    yield journal
    for each in made:
        each.close()


def entries(*numbers: int) -> list[bytes]:
    return [b"entry %d" % number for number in numbers]


def on_disk(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(directory.iterdir())}


def sync(journal: Journal) -> None:
    what = journal.unsynced()
    journal.make_durable(what)
    journal.synced(what)


def test_entries_are_lines_of_numbered_segments(make: Make, tmp_path: Path) -> None:
    journal = make()
    journal.write(entries(0, 1))
    journal.write(entries(2, 3, 4, 5, 6))
    assert journal.seq == 7
    assert on_disk(tmp_path) == {
        "00000000.jsonl": "entry 0\nentry 1\nentry 2\n",
        "00000001.jsonl": "entry 3\nentry 4\nentry 5\n",
        "00000002.jsonl": "entry 6\n",
    }


def test_a_segment_is_gone_on_with(make: Make, tmp_path: Path) -> None:
    make().write(entries(0, 1))
    make(seq=2).write(entries(2))
    assert on_disk(tmp_path) == {"00000000.jsonl": "entry 0\nentry 1\nentry 2\n"}


def test_a_full_segment_is_followed_by_a_new_one(make: Make, tmp_path: Path) -> None:
    make().write(entries(0, 1, 2))
    make(seq=3).write(entries(3))
    assert on_disk(tmp_path)["00000001.jsonl"] == "entry 3\n"


def test_nothing_is_appended_to_a_segment_that_should_not_be_there(make: Make, tmp_path: Path) -> None:
    (tmp_path / "00000001.jsonl").write_text("what is this\n")
    journal = make()
    with pytest.raises(FileExistsError):
        journal.write(entries(0, 1, 2, 3))
    assert journal.seq == 3
    assert on_disk(tmp_path)["00000001.jsonl"] == "what is this\n"


def test_a_disk_that_takes_little_at_a_time_gets_everything(make: Make, tmp_path: Path) -> None:
    make(MiserlyDisk(3)).write(entries(0, 1, 2, 3))
    assert on_disk(tmp_path) == {
        "00000000.jsonl": "entry 0\nentry 1\nentry 2\n",
        "00000001.jsonl": "entry 3\n",
    }


@pytest.mark.parametrize("room", range(33))
def test_of_a_batch_that_does_not_fit_the_whole_lines_stay(make: Make, tmp_path: Path, room: int) -> None:
    """A reader may have seen them between the write that took them and the one that failed."""
    seen: list[str] = []
    disk = FullDisk(room, lambda: seen.append("".join(on_disk(tmp_path).values())))
    journal = make(disk)
    if room == 32:
        journal.write(entries(0, 1, 2, 3))
        return
    with pytest.raises(OSError, match="No space left") as failure:
        journal.write(entries(0, 1, 2, 3))
    assert failure.value.errno == errno.ENOSPC
    kept = "".join(on_disk(tmp_path).values())
    assert kept == "".join(f"entry {number}\n" for number in range(room // 8))
    assert kept == seen[0][: seen[0].rfind("\n") + 1]
    assert journal.seq == room // 8
    disk.room = 1000
    journal.write(entries(*range(journal.seq, 4)))
    assert "".join(on_disk(tmp_path).values()) == "entry 0\nentry 1\nentry 2\nentry 3\n"


def test_a_failure_that_wrote_nothing_leaves_nothing_to_take_back(make: Make, tmp_path: Path) -> None:
    disk = FailingDisk()
    journal = make(disk)
    disk.broken = {"write", "truncate"}
    with pytest.raises(OSError, match="Input/output error") as failure:
        journal.write(entries(0))
    assert not isinstance(failure.value, Torn)
    assert (journal.seq, on_disk(tmp_path)) == (0, {"00000000.jsonl": ""})


def test_an_unfinished_line_that_stays_is_told_apart(make: Make, tmp_path: Path) -> None:
    journal = make(FullDisk(11, stuck=True))
    with pytest.raises(Torn, match="an unfinished line stays"):
        journal.write(entries(0, 1))
    assert journal.seq == 1
    assert on_disk(tmp_path) == {"00000000.jsonl": "entry 0\nent"}


def test_a_segment_that_cannot_be_made_is_tried_again(make: Make, tmp_path: Path) -> None:
    disk = FailingDisk(errno.EMFILE)
    journal = make(disk)
    disk.broken = {"open"}
    with pytest.raises(OSError, match="Too many open files"):
        journal.write(entries(0, 1, 2, 3))
    assert journal.seq == 3
    disk.broken = set()
    journal.write(entries(3))
    assert on_disk(tmp_path)["00000001.jsonl"] == "entry 3\n"


class Recording(Disk):
    """Remembers which files were synced and closed, by name."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.calls: list[str] = []

    def open(self, path: Path, *, new: bool) -> int:
        fd = super().open(path, new=new)
        self.names[fd] = path.name[7]
        return fd

    def sync(self, fd: int) -> None:
        self.calls.append(f"sync {self.names[fd]}")

    def close(self, fd: int) -> None:
        self.calls.append(f"close {self.names[fd]}")
        super().close(fd)

    def sync_directory(self, path: Path) -> None:
        self.calls.append("sync directory")


def test_a_sync_covers_every_segment_with_new_bytes_and_new_names(make: Make) -> None:
    disk = Recording()
    journal = make(disk)
    journal.write(entries(0, 1, 2, 3))
    sync(journal)
    assert disk.calls == ["sync 0", "sync 1", "sync directory", "close 0"]
    disk.calls.clear()
    journal.write(entries(4))
    sync(journal)
    assert disk.calls == ["sync 1"]


def test_what_is_written_after_a_sync_was_asked_for_needs_another(make: Make) -> None:
    disk = Recording()
    journal = make(disk)
    journal.write(entries(0))
    asked = journal.unsynced()
    journal.write(entries(1, 2, 3))
    journal.make_durable(asked)
    journal.synced(asked)
    assert asked.upto == 1
    assert disk.calls == ["sync 0", "sync directory"]
    sync(journal)
    assert disk.calls[2:] == ["sync 0", "sync 1", "sync directory", "close 0"]


def test_a_sync_that_hangs_stops_no_write_nor_the_next_segment(make: Make, tmp_path: Path) -> None:
    disk = HungDisk()
    journal = make(disk)
    journal.write(entries(0))
    disk.hang()
    asked = journal.unsynced()
    thread = Thread(target=journal.make_durable, args=(asked,))
    thread.start()
    try:
        assert disk.waiting.wait(30)
        journal.write(entries(1, 2, 3, 4))
        assert on_disk(tmp_path)["00000001.jsonl"] == "entry 3\nentry 4\n"
    finally:
        disk.release()
        thread.join()
    journal.synced(asked)
    sync(journal)
    assert journal.unsynced().files == journal.unsynced().files[-1:]


def test_segments_that_wait_for_a_sync_are_bounded(make: Make, tmp_path: Path) -> None:
    journal = make()
    fits = 3 * MAX_UNSYNCED_SEGMENTS
    with pytest.raises(OSError, match="8 segments wait for a sync"):
        journal.write(entries(*range(fits + 1)))
    assert (journal.seq, len(on_disk(tmp_path))) == (fits, MAX_UNSYNCED_SEGMENTS)
    sync(journal)
    journal.write(entries(fits))
    assert journal.seq == fits + 1
