"""The bytes of one epoch on disk: append, sync, roll. The one narrow I/O interface of the ledger.

    entries/00000000.jsonl      65,536 entries a file; the number is seq // 65536

`write` is called by the event loop, `sync` by the sync thread only, at the same time. Tests give another
`Disk` that hangs, fails, or writes a part.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

SEGMENT_ENTRIES: Final = 65_536


class Disk:
    """The system calls the journal makes."""

    def open(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def write(self, fd: int, data: memoryview) -> int:
        return os.write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self, fd: int) -> None:
        os.close(fd)


def segment_name(seq: int) -> str:
    """File name of the segment that holds entry `seq`."""
    return f"{seq // SEGMENT_ENTRIES:08d}.jsonl"


class Journal:
    """Appends to the segments below `entries`, which must hold nothing but whole lines when opened."""

    def __init__(self, entries: Path, seq: int, disk: Disk) -> None:
        self._entries = entries
        self._disk = disk
        self._open: list[int] = []  # descriptors with bytes not yet synced, oldest first; the last is written to
        self._size = 0
        self._named = False  # a segment's name that no directory sync has covered yet
        self._segment = -1
        self._switch(seq)

    def write(self, lines: list[bytes], seq: int) -> None:
        """Append whole lines of one segment, the first one being entry `seq`.

        Raises OSError after taking back what was written of them, so that no later line is glued to a torn
        one; Torn if that failed too.
        """
        self._switch(seq)
        data = b"".join(lines)
        fd, view = self._open[-1], memoryview(data)
        try:
            while view:
                view = view[self._disk.write(fd, view) :]
        except OSError:
            if len(view) != len(data):
                self._take_back(fd)
            raise
        self._size += len(data)

    def sync(self) -> None:
        """Make durable what was written before the call. Raises OSError."""
        open_now = list(self._open)
        for fd in open_now:
            self._disk.sync(fd)
        if self._named:
            self._named = False
            self._disk.sync_directory(self._entries)
        for fd in open_now[:-1]:
            self._open.remove(fd)
            self._disk.close(fd)

    def close(self) -> None:
        while self._open:
            self._disk.close(self._open.pop())

    def _switch(self, seq: int) -> None:
        if seq // SEGMENT_ENTRIES == self._segment:
            return
        path = self._entries / segment_name(seq)
        fd = self._disk.open(path)
        self._size = os.fstat(fd).st_size
        self._segment = seq // SEGMENT_ENTRIES
        self._named = True
        self._open.append(fd)

    def _take_back(self, fd: int) -> None:
        try:
            self._disk.truncate(fd, self._size)
        except OSError as error:
            raise Torn(error.errno, "a partly written batch could not be taken back") from error


class Torn(OSError):
    """The last line may be incomplete: nothing may be appended before recovery has cut it."""

