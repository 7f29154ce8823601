"""Disks that misbehave, put below the ledger through `journal.Disk`; everything else stays real."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NoReturn

from authz.ledger.journal import Disk


class HungDisk(Disk):
    """`hang()` makes every later sync wait for `release()`; `waiting` is set while one does."""

    def __init__(self) -> None:
        self._free = threading.Event()
        self._free.set()
        self.waiting = threading.Event()
        self.syncs = 0

    def hang(self) -> None:
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    def sync(self, fd: int) -> None:
        if not self._free.is_set():
            self.waiting.set()
            assert self._free.wait(60), "nobody released the disk"
        self.syncs += 1
        super().sync(fd)


class FailingDisk(Disk):
    """`broken` names the calls that fail with `number` until it is taken out again."""

    def __init__(self, number: int = errno.EIO) -> None:
        self.broken: set[str] = set()
        self._number = number

    def open(self, path: Path, *, new: bool) -> int:
        self._fail("open", path)
        return super().open(path, new=new)

    def write(self, fd: int, data: memoryview) -> int:
        self._fail("write")
        return super().write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        self._fail("truncate")
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        self._fail("sync")
        super().sync(fd)

    def make_directory(self, path: Path) -> None:
        self._fail("make_directory", path)
        super().make_directory(path)

    def _fail(self, call: str, path: Path | None = None) -> None:
        if call in self.broken:
            raise OSError(self._number, os.strerror(self._number), path and str(path))


class FullDisk(Disk):
    """Has `room` bytes left: a write takes what fits, the next one fails with ENOSPC.

    `seen` is called between the two, when other processes can read what was taken. `stuck`: what was taken
    cannot be taken back either.
    """

    def __init__(self, room: int, seen: Callable[[], None] = lambda: None, *, stuck: bool = False) -> None:
        self.room = room
        self._seen, self._stuck = seen, stuck

    def write(self, fd: int, data: memoryview) -> int:
        if not self.room:
            self._seen()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = super().write(fd, data[: self.room])
        self.room -= taken
        return taken

    def truncate(self, fd: int, size: int) -> None:
        if self._stuck:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.room += os.fstat(fd).st_size - size
        super().truncate(fd, size)


class MiserlyDisk(Disk):
    """Takes at most `most` bytes a write, as a signal or a slow file system may."""

    def __init__(self, most: int) -> None:
        self._most = most

    def write(self, fd: int, data: memoryview) -> int:
        return super().write(fd, data[: self._most])


class MortalDisk(Disk):
    """Kills this process with SIGKILL at its `last`-th call: before it, or when a part of a write is done."""

    def __init__(self, last: int, part: float = 0.5) -> None:
        self.calls, self._last, self._part = 0, last, part
        self._lock = threading.Lock()

    def open(self, path: Path, *, new: bool) -> int:
        self._live()
        return super().open(path, new=new)

    def write(self, fd: int, data: memoryview) -> int:
        if self._dies():
            super().write(fd, data[: int(len(data) * self._part)])
            _die()
        return super().write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        self._live()
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        self._live()
        super().sync(fd)

    def close(self, fd: int) -> None:
        self._live()
        super().close(fd)

    def make_directory(self, path: Path) -> None:
        self._live()
        super().make_directory(path)

    def remove(self, path: Path) -> None:
        self._live()
        super().remove(path)

    def sync_directory(self, path: Path) -> None:
        self._live()
        super().sync_directory(path)

    def _dies(self) -> bool:
        with self._lock:
            self.calls += 1
            return self.calls == self._last

    def _live(self) -> None:
        if self._dies():
            _die()


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


class VolatileDisk(HungDisk):
    """Forgets at `crash` what was never synced: the end of a file, a name in a directory."""

    def __init__(self) -> None:
        super().__init__()
        self._paths: dict[int, Path] = {}
        self._durable: dict[Path, int] = {}
        self._unnamed: set[Path] = set()

    def open(self, path: Path, *, new: bool) -> int:
        fd = super().open(path, new=new)
        self._paths[fd] = path
        self._durable.setdefault(path, os.fstat(fd).st_size)
        if new:
            self._unnamed.add(path)
        return fd

    def sync(self, fd: int) -> None:
        size = os.fstat(fd).st_size
        super().sync(fd)
        self._durable[self._paths[fd]] = size

    def make_directory(self, path: Path) -> None:
        super().make_directory(path)
        self._unnamed.add(path)

    def sync_directory(self, path: Path) -> None:
        super().sync_directory(path)
        self._unnamed -= set(path.iterdir())

    def crash(self, random: Random) -> None:
        """What is not durable is kept up to a random place, or not at all."""
        for path, durable in self._durable.items():
            if path.exists():
                os.truncate(path, random.randint(durable, path.stat().st_size))
        for path in sorted(self._unnamed, reverse=True):
            if path.is_file() and random.random() < 0.5:
                path.unlink()
