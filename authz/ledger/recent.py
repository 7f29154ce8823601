"""The newest entries of ledgers, and those that are added meanwhile: for whoever watches, not for evidence.

In: a path with one or more logs. Out: whole lines, as they lie on disk. Called by `aegis tail`. It opens
files for reading only, asks no worker, and verifies nothing: a line counts when its newline is there, and a
file that shrinks, or has what can be no line, is an IntegrityViolation. OSError for what cannot be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from copy import copy
from itertools import chain
from pathlib import Path
from typing import Final

from authz.errors import IntegrityViolation
from authz.ledger import files
from authz.ledger.form import MAX_ENTRY
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name

CHUNK: Final = 1 << 20  # bytes read at once; longer than any line


class Cursor:
    """A place in one log: whole lines before it are old, those after it are taken once each."""

    def __init__(self, log: Path, number: int = 0, offset: int = 0) -> None:
        self._log, self._number, self._offset = log, number, offset

    @classmethod
    def at_end(cls, log: Path) -> Cursor:
        """After the last whole line that is there now."""
        listing = files.segments(log)
        if not listing.files:
            return cls(log, listing.last + 1)
        with files.open_regular(listing.files[-1]) as stream:
            size = os.fstat(stream.fileno()).st_size
            start = max(0, size - MAX_ENTRY - 1)
            stream.seek(start)
            end = start + stream.read(size - start).rfind(b"\n") + 1
        if end == start and size - start > MAX_ENTRY:
            raise _too_long(listing.files[-1])
        return cls(log, listing.numbers[-1], end)

    def take(self) -> Iterator[bytes]:
        """The whole lines that were added, without their newlines."""
        while True:
            heir = self._file(self._number + 1).exists()  # asked before: an heir comes after the last line
            try:
                *lines, rest = self._read().split(b"\n")
            except FileNotFoundError:  # not begun yet
                return
            for line in lines:
                self._offset += len(line) + 1
                yield line
            if lines:
                continue
            if len(rest) > MAX_ENTRY:
                raise _too_long(self._file(self._number))
            if not heir:
                return
            self._number, self._offset = self._number + 1, 0

    def back(self) -> Iterator[bytes]:
        """The whole lines before this place, the last one first."""
        for number in range(self._number, -1, -1):
            file = self._file(number)
            if not file.exists():  # pruned, as all before it may be
                continue
            yield from _backwards(file, self._offset if number == self._number else file.stat().st_size)

    def _read(self) -> bytes:
        file = self._file(self._number)
        with files.open_regular(file) as stream:
            if os.fstat(stream.fileno()).st_size < self._offset:
                raise IntegrityViolation("shorter than what was read of it", file=str(file))
            stream.seek(self._offset)
            return stream.read(CHUNK)

    def _file(self, number: int) -> Path:
        return self._log / "entries" / segment_name(number * SEGMENT_ENTRIES)


class Watch:
    """The logs at or below `path`: what their newest lines were, and what comes after."""

    def __init__(self, path: Path) -> None:
        self._path = path
        found = (place.path for place in files.discover(path)[0])
        self._cursors = {log: Cursor.at_end(log) for log in found}

    def back(self) -> Iterator[Iterator[bytes]]:
        """For each worker the lines that were there in the beginning, the last one first."""
        workers: dict[Path, list[Cursor]] = {}
        for log, cursor in sorted(self._cursors.items(), reverse=True):  # names of epochs begin with the time
            workers.setdefault(log.parent, []).append(copy(cursor))
        for cursors in workers.values():
            yield chain.from_iterable(cursor.back() for cursor in cursors)

    def news(self) -> Iterator[bytes]:
        """The lines added since the beginning or the last call, also those of logs that began meanwhile."""
        for place in files.discover(self._path)[0]:
            self._cursors.setdefault(place.path, Cursor(place.path))
        for cursor in self._cursors.values():
            yield from cursor.take()


def _backwards(file: Path, end: int) -> Iterator[bytes]:
    """The lines of `file` before byte `end`, the last one first; `end` is behind a newline or 0."""
    if end == 0:
        return
    rest, end = b"", end - 1
    with files.open_regular(file) as stream:
        while end > 0:
            start = max(0, end - CHUNK)
            stream.seek(start)
            rest, *lines = (stream.read(end - start) + rest).split(b"\n")
            yield from reversed(lines)
            if len(rest) > MAX_ENTRY:
                raise _too_long(file)
            end = start
    yield rest


def _too_long(file: Path) -> IntegrityViolation:
    return IntegrityViolation(f"a line longer than {MAX_ENTRY} bytes", file=str(file))
