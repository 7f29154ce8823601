"""Reads an epoch's entries in order from any position, and finds a position again after a restart.

    position: `size` entries were taken; the last one begins at byte `offset` of its segment, and has `hash`

In: an epoch's directory, a Position. Out: Taken entries, each one's form, place and link checked. Called by
the record stream and the exporters on threads of their own. It holds no file open between calls, and must
never pass over an entry: whatever is not the next one is an IntegrityViolation that names file, line and
seq.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from authz.errors import CursorUnusable, IntegrityViolation
from authz.ledger import files, form, merkle, pruned
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name

CHUNK: Final = 1 << 18  # bytes read at once; holds several of the longest entries


class Position(Struct, frozen=True):
    """Up to where an epoch was taken. `hash` (hex) and `offset` are of entry `size - 1`, if there is one; ""
    where that is pruned.
    """

    size: int = 0
    hash: str = merkle.EMPTY_HASH_HEX
    offset: int = 0


class Taken(Struct, frozen=True):
    """Entry number `seq` of `log`: its stored bytes, what they say, and the position behind it."""

    log: str
    seq: int
    entry: bytes
    members: dict[str, Any]
    after: Position

    @property
    def entry_hash(self) -> str:
        """Lowercase hex of the RFC 6962 leaf hash."""
        return self.after.hash


def take(directory: Path, log: str, position: Position, upto: int, *, entries: int, size: int) -> list[Taken]:
    """The entries behind `position` and below number `upto`: at most `entries` of them, which have at most
    `size` bytes together, but at least one if there is one. Raises IntegrityViolation, OSError.
    """
    taken: list[Taken] = []
    length, offset = 0, _behind(directory, position)
    while position.size < upto:
        file = directory / "entries" / segment_name(position.size)
        if position.size % SEGMENT_ENTRIES == 0:
            offset = 0
        chunk = _lines(file, offset)
        if not chunk and (end := _pruned_to(directory, position.size)):
            position = Position(end, "")
            continue
        if not chunk:
            raise _violation("the entry is missing", file, position.size)
        for line in chunk:
            if position.size >= upto or len(taken) == entries or (taken and length + len(line) > size):
                return taken
            members = _read(line, log, position, file)
            position = Position(position.size + 1, merkle.leaf_hash(line).hex(), offset)
            taken.append(Taken(log, position.size - 1, line, members, position))
            length, offset = length + len(line), offset + len(line) + 1
            if position.size % SEGMENT_ENTRIES == 0:
                break
    return taken


def locate(directory: Path, seq: int) -> Position:
    """The position before entry `seq`, found by counting lines: 5 ms for a full segment. Raises
    IntegrityViolation if there are not so many entries, OSError.
    """
    if seq == 0:
        return Position()
    file = directory / "entries" / segment_name(seq - 1)
    offset = 0
    with files.open_regular(file) as stream:
        for number, line in enumerate(files.lines(stream)):
            if number == (seq - 1) % SEGMENT_ENTRIES and line.endswith(b"\n"):
                return Position(seq, merkle.leaf_hash(line[:-1]).hex(), offset)
            offset += len(line)
    raise _violation("the entry is missing", file, seq - 1)


def check(directory: Path, log: str, position: Position, what: str) -> None:
    """Whether the entry before `position` is still the one that was taken; a pruned one is taken for it.
    Raises CursorUnusable, whose text begins with `what`; OSError.
    """
    if position.size == 0 or _pruned_to(directory, position.size - 1):
        return
    seq = position.size - 1
    lines = _lines(directory / "entries" / segment_name(seq), position.offset)
    if not lines or merkle.leaf_hash(lines[0]).hex() != position.hash or not _is_entry(lines[0], log, seq):
        raise CursorUnusable(f"{what}: entry {seq} of {log} is not the one that was exported last")


def _pruned_to(directory: Path, seq: int) -> int:
    """The number after the last entry of the segment of entry `seq`, if it was pruned; otherwise 0."""
    number = seq // SEGMENT_ENTRIES
    if number not in files.segments(directory).pruned:
        return 0
    try:
        end = number * SEGMENT_ENTRIES + pruned.read(directory, number).entries
    except ValueError as error:
        raise _violation(str(error), pruned.marker_file(directory, number), seq) from None
    return end if end > seq else 0


def _is_entry(line: bytes, log: str, seq: int) -> bool:
    try:
        form.read(line, log, seq, None)
    except ValueError:
        return False
    return True


def _behind(directory: Path, position: Position) -> int:
    """Where in its segment the entry behind `position` begins."""
    if position.size % SEGMENT_ENTRIES == 0:
        return 0
    lines = _lines(directory / "entries" / segment_name(position.size - 1), position.offset)
    return position.offset + len(lines[0]) + 1 if lines else position.offset


def _lines(file: Path, offset: int) -> list[bytes]:
    """The whole lines in the next CHUNK bytes, without newlines; none if there is no such file."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        return os.pread(fd, CHUNK, offset).split(b"\n")[:-1]
    finally:
        os.close(fd)


def _read(line: bytes, log: str, position: Position, file: Path) -> dict[str, Any]:
    try:
        return form.read(line, log, position.size, position.hash or None)
    except ValueError as error:
        raise _violation(str(error), file, position.size) from None


def _violation(what: str, file: Path, seq: int) -> IntegrityViolation:
    return IntegrityViolation(what, file=str(file), line=seq % SEGMENT_ENTRIES + 1, seq=seq)
