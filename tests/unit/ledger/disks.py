"""Disks that misbehave, put below the ledger through `journal.Disk`; everything else stays real."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

from authz.ledger.journal import Disk


class HungDisk(Disk):
    """`hang()` makes every later sync wait for `release()`."""

    def __init__(self) -> None:
        self._free = threading.Event()
        self._free.set()
        self.syncs = 0

    def hang(self) -> None:
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    def sync(self, fd: int) -> None:
        assert self._free.wait(30), "nobody released the disk"
        self.syncs += 1
        super().sync(fd)


class FailingDisk(Disk):
    """`broken` names the calls that fail with `number` until it is taken out again."""

    def __init__(self, number: int = errno.EIO) -> None:
        self.broken: set[str] = set()
        self._number = number

    def write(self, fd: int, data: memoryview) -> int:
        self._fail("write")
        return super().write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        self._fail("truncate")
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        self._fail("sync")
        super().sync(fd)

    def _fail(self, call: str) -> None:
        if call in self.broken:
            raise OSError(self._number, os.strerror(self._number))


class FullDisk(Disk):
    """Has `room` bytes left: a write takes what fits, the next one fails with ENOSPC.

    `seen` is called between the two, when other processes can read what was taken.
    """

    def __init__(self, room: int, seen: Callable[[], None] = lambda: None) -> None:
        self.room = room
        self._seen = seen

    def write(self, fd: int, data: memoryview) -> int:
        if not self.room:
            self._seen()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = super().write(fd, data[: self.room])
        self.room -= taken
        return taken

    def truncate(self, fd: int, size: int) -> None:
        self.room += os.fstat(fd).st_size - size
        super().truncate(fd, size)


class MiserlyDisk(Disk):
    """Takes at most `most` bytes a write, as a signal or a slow file system may."""

    def __init__(self, most: int) -> None:
        self._most = most

    def write(self, fd: int, data: memoryview) -> int:
        return super().write(fd, data[: self._most])


class Killed(BaseException):
    """The process died here."""


class MortalDisk(Disk):
    """Dies at its `last`-th call: a write does a part first, and nothing is done after death."""

    def __init__(self, last: int, part: float = 0.5) -> None:
        self.calls, self._last, self._part = 0, last, part

    @property
    def dead(self) -> bool:
        return self.calls >= self._last

    def _dies(self) -> bool:
        self.calls += 1
        return self.dead

    def open(self, path: Path) -> int:
        if self._dies():
            raise Killed
        return super().open(path)

    def write(self, fd: int, data: memoryview) -> int:
        if self._dies():
            if self.calls == self._last:
                super().write(fd, data[: int(len(data) * self._part)])
            raise Killed
        return super().write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        if self._dies():
            raise Killed
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        if self._dies():
            raise Killed
        super().sync(fd)

    def sync_directory(self, path: Path) -> None:
        if self._dies():
            raise Killed
        super().sync_directory(path)
