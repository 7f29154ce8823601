"""Runs of entries out of a log's segments by their numbers.

    a segment's lines have rising numbers: where one begins is found by halves, reading some 16 of 65,536

In: a log's directory, numbers. Out: the stored bytes. Called by the tree. It believes nothing of what it
reads: a number in a line only says where to look, and where that leads nowhere all lines are counted. Whoever
asked compares hashes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from authz.errors import IntegrityViolation
from authz.ledger import files, merkle
from authz.ledger.files import MAX_LINE
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name
from authz.ledger.pruned import marker_file

WINDOW: Final = 2 * MAX_LINE  # bytes: a whole line at least, wherever it begins


class Deleted(IndexError):
    """The entry's segment was deleted by the rules of retention, and only its hashes are left."""


class _Numbered(msgspec.Struct):
    seq: int


_NUMBER: Final = msgspec.json.Decoder(_Numbered)


class Stored:
    """The entries of the log in `directory`, which may grow."""

    def __init__(self, directory: Path) -> None:
        self._entries = directory / "entries"

    def entries(self, start: int, end: int, *, counted: bool = False) -> Iterator[bytes]:
        """Entries `start` to `end`, no newlines. `counted`: by their places only, whatever they say.

        Raises IntegrityViolation for a missing one, Deleted, OSError.
        """
        while start < end:
            first = start // SEGMENT_ENTRIES * SEGMENT_ENTRIES
            upto = min(end, first + SEGMENT_ENTRIES)
            yield from self._of_segment(first, start, upto, counted)
            start = upto

    def leaves(self, start: int, end: int, *, counted: bool = False) -> list[bytes]:
        """The leaf hashes of entries `start` to `end`, computed. Raises as `entries`."""
        return [merkle.leaf_hash(entry) for entry in self.entries(start, end, counted=counted)]

    def fault(self, what: str, seq: int) -> IntegrityViolation:
        """A violation at entry `seq`, naming file and line."""
        file = self._entries / segment_name(seq)
        return IntegrityViolation(what, file=str(file), line=seq % SEGMENT_ENTRIES + 1, seq=seq)

    def _of_segment(self, first: int, start: int, end: int, counted: bool) -> Iterator[bytes]:
        try:
            stream = files.open_regular(self._entries / segment_name(first))
        except FileNotFoundError:
            if marker_file(self._entries.parent, first // SEGMENT_ENTRIES).exists():
                raise Deleted(f"entry {start} was deleted with its segment") from None
            raise self.fault("the entry is missing", first) from None
        with stream:
            seq, offset = (first, 0) if counted else _near(stream, first, start)
            stream.seek(offset)
            for line in islice(files.lines(stream), end - seq):
                if line[-1:] != b"\n":
                    break
                if seq >= start:
                    yield line[:-1]
                seq += 1
        if seq < end:
            raise self.fault("the entry is missing", seq)


def _near(stream: BinaryIO, first: int, wanted: int) -> tuple[int, int]:
    """An entry of the segment that begins with number `first`, at most some lines before the one that is
    `wanted`, and where it begins; the first one if the lines do not say where they stand.
    """
    fd = stream.fileno()
    seq, low, high = first, 0, os.fstat(fd).st_size
    while high - low > WINDOW and seq < wanted:
        middle = (low + high) // 2
        data = os.pread(fd, WINDOW, middle)
        start = data.find(b"\n") + 1
        end = data.find(b"\n", start)
        if not 0 < start < end:
            return first, 0
        found = _number(data[start:end])
        if not seq < found < first + SEGMENT_ENTRIES:
            return first, 0
        if found <= wanted:
            seq, low = found, middle + start
        else:
            high = middle
    return seq, low


def _number(line: bytes) -> int:
    """What the line says is its number; -1 if it says nothing."""
    try:
        return _NUMBER.decode(line).seq
    except msgspec.MsgspecError:
        return -1
