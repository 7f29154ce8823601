"""Runs of entries out of a log's segments by their numbers, and where in the files they begin.

In: a log's directory, numbers. Out: the stored bytes. Called by the tree, by one thread at a time. It keeps
where every 256th entry of a segment begins, so that what was found once is found at once; it believes nothing
of what it reads, and whoever asked compares hashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from authz.errors import IntegrityViolation
from authz.ledger import files, merkle
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name

STEP: Final = 256  # entries
MAX_SEGMENTS: Final = 1024  # whose offsets are kept: 257 numbers each


class Stored:
    """The entries of the log in `directory`, which may grow. Finding one in a segment for the first time
    reads the segment up to there: about 20 ms if it is full.
    """

    def __init__(self, directory: Path) -> None:
        self._entries = directory / "entries"
        self._offsets: dict[int, list[int]] = {}  # by segment: where entry 0, 256, 512, ... of it begins

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """Entries `start` to `end`, no newlines. Raises IntegrityViolation for a missing one, OSError."""
        while start < end:
            number, place = divmod(start, SEGMENT_ENTRIES)
            upto = min(end - number * SEGMENT_ENTRIES, SEGMENT_ENTRIES)
            yield from self._of_segment(number, place, upto)
            start = number * SEGMENT_ENTRIES + upto

    def leaves(self, start: int, end: int) -> list[bytes]:
        """The leaf hashes of entries `start` to `end`, computed. Raises as `entries`."""
        return [merkle.leaf_hash(entry) for entry in self.entries(start, end)]

    def forget(self) -> None:
        """Look for every entry anew: what is in the files is not what it was, or was never right."""
        self._offsets.clear()

    def fault(self, what: str, seq: int) -> IntegrityViolation:
        """A violation at entry `seq`, naming file and line."""
        file = self._entries / segment_name(seq)
        return IntegrityViolation(what, file=str(file), line=seq % SEGMENT_ENTRIES + 1, seq=seq)

    def _of_segment(self, number: int, place: int, upto: int) -> Iterator[bytes]:
        first = number * SEGMENT_ENTRIES
        try:
            stream = files.open_regular(self._entries / segment_name(first))
        except FileNotFoundError:
            raise self.fault("the entry is missing", first) from None
        with stream:
            at = self._seek(stream, number, place)
            for line in islice(files.lines(stream), upto - at):
                if line[-1:] != b"\n":
                    break
                if at >= place:
                    yield line[:-1]
                at += 1
        if at < upto:
            self.forget()
            raise self.fault("the entry is missing", first + at)

    def _seek(self, stream: BinaryIO, number: int, place: int) -> int:
        """Go to the last known entry at or before `place` of segment `number`; its place there."""
        offsets = self._offsets.setdefault(number, [0])
        if len(self._offsets) > MAX_SEGMENTS:
            del self._offsets[next(iter(self._offsets))]
        block = min(place // STEP, len(offsets) - 1)
        stream.seek(offsets[block])
        while block < place // STEP:
            size = _step(stream)
            if not size:
                stream.seek(offsets[block])
                break
            offsets.append(offsets[block] + size)
            block += 1
        return block * STEP


def _step(stream: BinaryIO) -> int:
    """The bytes of the next STEP lines; 0 if there are not so many, since more may be added to them."""
    size = count = 0
    for line in islice(files.lines(stream), STEP):
        if line[-1:] == b"\n":
            size, count = size + len(line), count + 1
    return size if count == STEP else 0
