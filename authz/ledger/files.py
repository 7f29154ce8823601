"""Where logs lie below a path, and how their files are read: regular files only, never more than a bound.

    <path>/.../<epoch>/entries/00000000.jsonl, 00000001.jsonl, ...      or .pruned, where entries were deleted
    <path>/.../<epoch>/checkpoint

What is stored may be hostile: a symbolic link, a pipe or a directory in the place of a file is a fault of the
ledger, and is not opened. OSError means that something could not be read, and says nothing about the ledger.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from functools import partial
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from msgspec import Struct

from authz.ledger.form import MAX_ENTRY
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name
from authz.ledger.notes import MAX_NOTE
from authz.ledger.report import Fault

MAX_DEPTH: Final = 8  # directories between a path and an epoch
MAX_STRANGERS: Final = 32  # names in a log's directory that are said one by one
# What a log's directory may hold besides other directories; the last one is there while a checkpoint is made.
_OWN: Final = frozenset(
    ("entries", "tile", "checkpoint", "damaged", "disclosures", "failed", ".checkpoint.new")
)
_SEGMENT: Final = re.compile(r"([0-9]{8})\.(jsonl|pruned)")
PRUNED: Final = ".pruned"  # ends the name of a marker (pruned.py)
BLOCK: Final = 1 << 17  # bytes of whole lines, and one more line
MAX_LINE: Final = MAX_ENTRY + 1  # bytes, with the newline; a longer line is read so far and lacks it


class Readable(Protocol):
    """What bytes are taken from, into a buffer of the caller's."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


class Place(Struct, frozen=True):
    """A log's directory; `below` are the names that lead to it from the path that was asked for."""

    path: Path
    below: tuple[str, ...]


class Listing(Struct, frozen=True):
    """The segments of a log in order, up to the first `fault`: `files` with their `numbers`, and between them
    those that were `pruned`. `others` are names that are no segments.
    """

    files: tuple[Path, ...]
    fault: Fault | None
    others: tuple[str, ...]
    numbers: tuple[int, ...] = ()
    pruned: tuple[int, ...] = ()

    @property
    def last(self) -> int:
        """The number of the last segment, -1 without any."""
        return max((*self.numbers, *self.pruned), default=-1)

    def parts(self, log: Path) -> list[Path]:
        """What there is of each segment, in order: its file, or where it was pruned the marker."""
        named = dict(zip(self.numbers, self.files, strict=True))
        marked = {number: log / "entries" / f"{number:08d}{PRUNED}" for number in self.pruned}
        return [path for _, path in sorted((named | marked).items())]

    @property
    def first(self) -> Path | None:
        """The file that the log begins with, None if there is none or it was pruned."""
        return self.files[0] if self.numbers[:1] == (0,) else None


def discover(path: Path) -> tuple[list[Place], list[Path]]:
    """The logs at or below `path` in the order of their names, and the symbolic links not followed.

    A log is what holds `entries` or `checkpoint`. Another one below it is found too: anybody who can write
    here can make a directory of that name, and nothing may hide behind it.
    """
    places: list[Place] = []
    links: list[Path] = []
    _search(path, (), places, links)
    return places, links


def _search(path: Path, below: tuple[str, ...], places: list[Place], links: list[Path]) -> None:
    if len(below) > MAX_DEPTH:
        raise OSError(errno.ELOOP, f"more than {MAX_DEPTH} directories deep", str(path))
    with os.scandir(path) as found:
        items = sorted(found, key=lambda item: item.name)
    if any(item.name in ("entries", "checkpoint") for item in items):
        places.append(Place(path, below))
        items = [item for item in items if item.name not in ("entries", "tile", "checkpoint")]
    for item in items:
        if item.is_symlink():
            links.append(path / item.name)
        elif item.is_dir(follow_symlinks=False):
            _search(path / item.name, (*below, item.name), places, links)


def strangers(log: Path) -> list[str]:
    """What lies in the directory of `log` and is no part of one; at most MAX_STRANGERS names."""
    with os.scandir(log) as found:
        names = sorted(item.name for item in found if item.name not in _OWN and not item.is_symlink())
    more = len(names) - MAX_STRANGERS
    return names[:MAX_STRANGERS] + ([f"{more} more names"] if more > 0 else [])


def segments(log: Path) -> Listing:
    """The files of `log` that hold entries. A log without any is a Listing without files."""
    directory = log / "entries"
    if not os.path.lexists(directory):
        return Listing((), None, ())
    if not stat.S_ISDIR(os.lstat(directory).st_mode):
        return Listing((), Fault("not a directory", str(directory)), ())
    names = sorted(os.listdir(directory))
    found = [match for name in names if (match := _SEGMENT.fullmatch(name))]
    others = tuple(name for name in names if not _SEGMENT.fullmatch(name))
    present = {int(match[1]) for match in found if match[2] == "jsonl"}
    pruned = {int(match[1]) for match in found} - present
    files: dict[int, Path] = {}
    fault: Fault | None = None
    for number in sorted(present | pruned):
        file = directory / segment_name(number * SEGMENT_ENTRIES)
        if fault := _misplaced(file, number, len(files) + sum(each < number for each in pruned)):
            break
        if number in present:
            files[number] = file
    upto = fault.seq // SEGMENT_ENTRIES if fault else len(present | pruned)
    gone = tuple(number for number in sorted(pruned) if number < upto)
    return Listing(tuple(files.values()), fault, others, tuple(files), gone)


def _misplaced(file: Path, number: int, expected: int) -> Fault | None:
    """Why segment `number` cannot be the one that comes next, which is `expected`."""
    if number != expected:
        missing = file.with_name(segment_name(expected * SEGMENT_ENTRIES))
        what = "missing: later entries are there"
        return Fault(what, str(missing), seq=expected * SEGMENT_ENTRIES)
    if os.path.lexists(file) and not stat.S_ISREG(os.lstat(file).st_mode):
        return Fault("not a regular file", str(file), seq=number * SEGMENT_ENTRIES)
    return None


def checkpoint(log: Path) -> tuple[bytes | None, Fault | None]:
    """The stored checkpoint, None when there is none."""
    file = log / "checkpoint"
    if not os.path.lexists(file):
        return None, None
    if not stat.S_ISREG(os.lstat(file).st_mode):
        return None, Fault("not a regular file", str(file))
    with open_regular(file) as stream:
        return stream.read(MAX_NOTE + 1), None


def open_regular(file: Path) -> BinaryIO:
    """`file` for reading, never through a link and never waiting for a pipe."""
    return os.fdopen(_descriptor(file), "rb", buffering=1 << 20)


def open_unbuffered(file: Path) -> FileIO:
    """The same for who takes large parts at once."""
    return FileIO(_descriptor(file), "rb")


def _descriptor(file: Path) -> int:
    return os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines with their newline; a last one may lack it, and a longer one comes cut to MAX_LINE bytes."""
    return iter(partial(stream.readline, MAX_LINE), b"")


def blocks(stream: Readable) -> Iterator[bytes]:
    """Whole lines, many at a time. A last block without a newline at its end is what is left: an incomplete
    line, or the beginning of one that is longer than MAX_LINE bytes.
    """
    buffer = bytearray(BLOCK + MAX_LINE)
    view, kept = memoryview(buffer), 0
    while kept <= MAX_LINE and (count := stream.readinto(view[kept : kept + BLOCK])):
        upto = kept + count
        end = buffer.rfind(b"\n", 0, upto) + 1
        if end:
            yield bytes(view[:end])
        kept = upto - end
        view[:kept] = view[end:upto]
    if kept:
        yield bytes(view[: min(kept, MAX_LINE)])
