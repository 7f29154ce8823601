"""The bytes of one epoch on disk: append, sync, roll. The one narrow I/O interface of the ledger.

    entries/00000000.jsonl      65,536 entries a file; the number is seq // 65536

The event loop appends (`write`) and says what has to be made durable (`unsynced`); the sync thread does only
that (`make_durable`) and shares nothing else with the loop, so a sync that hangs stops no write. Tests put
another `Disk` below it that hangs, fails, fills up or kills the process. It must never leave a part of an
entry under a later one, nor take back an entry that a reader may have seen whole.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from msgspec import Struct

SEGMENT_ENTRIES: Final = 65_536
FAILED: Final = "failed"  # a file in an epoch's directory: a sync failed, nothing may follow
MAX_UNSYNCED_SEGMENTS: Final = 8  # files that may wait for a sync; a disk that hangs longer takes no more


class Disk:
    """Every system call by which the ledger changes a disk."""

    def open(self, path: Path, *, new: bool) -> int:
        """For appending; a `new` file must not be there yet."""
        flags = os.O_CREAT | os.O_EXCL if new else 0
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o640)

    def write(self, fd: int, data: memoryview) -> int:
        return os.write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def make_directory(self, path: Path) -> None:
        path.mkdir(mode=0o750)

    def remove(self, path: Path) -> None:
        """A file, or a directory that is empty."""
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()

    def sync_directory(self, path: Path) -> None:
        """Names in `path` are durable afterwards."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def segment_name(seq: int) -> str:
    """File name of the segment that holds entry `seq`."""
    return f"{seq // SEGMENT_ENTRIES:08d}.jsonl"


class Unsynced(Struct, frozen=True):
    """What one sync makes durable: all entries before `upto`, which lie in the open `files`, oldest first.

    `named`: a file is new, and its name has to be made durable too.
    """

    upto: int
    files: tuple[int, ...]
    named: bool


class Journal:
    """Appends below `entries`, from entry `seq` on; the segment of `seq` holds nothing but whole lines.

    `seq` is the number of entries written. Raises OSError where a segment cannot be opened.
    """

    def __init__(self, entries: Path, seq: int, disk: Disk, *, per_segment: int = SEGMENT_ENTRIES) -> None:
        self._entries, self._disk, self._per_segment = entries, disk, per_segment
        self._failed = entries.parent / FAILED
        self.seq = seq
        self._open: list[int] = []  # descriptors with bytes that may not be synced; the last is written to
        self._size = 0  # bytes in that last one
        self._named = True
        self._segment = seq // per_segment
        path = self._path()
        self._open_segment(path, new=not path.exists())

    def write(self, entries: list[bytes]) -> None:
        """Append entries (without newlines), the first one being number `seq`.

        Raises OSError when not all were written: `seq` then counts the whole ones, which stay, since readers
        may have seen them; nothing is left of the others. Raises Torn if that could not be had.
        """
        while entries:
            if self.seq // self._per_segment != self._segment:
                self._roll()
            count = self._per_segment - self.seq % self._per_segment
            self._append(entries[:count])
            entries = entries[count:]

    def unsynced(self) -> Unsynced:
        """What has to be made durable now; later ones cover it too until `synced` is called."""
        return Unsynced(self.seq, tuple(self._open), self._named)

    def make_durable(self, what: Unsynced) -> None:
        """Sync. On any thread. Raises OSError, after which nothing may be appended any more: also if another
        process's sync of these files failed, since then ours need not say so.
        """
        for fd in what.files:
            self._disk.sync(fd)
        if what.named:
            self._disk.sync_directory(self._entries)
        if os.path.lexists(self._failed):
            raise OSError(errno.EIO, "another process could not sync this epoch")

    def synced(self, what: Unsynced) -> None:
        """`what` is durable: close the segments that were finished when it was asked for."""
        for fd in what.files[:-1]:
            self._open.remove(fd)
            self._disk.close(fd)
        if what.files[-1] == self._open[-1]:
            self._named = False

    def close(self) -> None:
        """Let go of the files. Not while a thread may be in `make_durable`."""
        while self._open:
            self._disk.close(self._open.pop())

    def _append(self, entries: list[bytes]) -> None:
        data = b"\n".join((*entries, b""))
        view, written = memoryview(data), 0
        try:
            while written < len(data):
                written += self._disk.write(self._open[-1], view[written:])
        except OSError:
            self._keep_whole(entries, written)
            raise
        self._size += len(data)
        self.seq += len(entries)

    def _keep_whole(self, entries: list[bytes], written: int) -> None:
        """Of `written` bytes keep the whole lines, and take back the rest."""
        kept = 0
        for entry in entries:
            if kept + len(entry) + 1 > written:
                break
            kept += len(entry) + 1
            self.seq += 1
        self._size += kept
        if written > kept:
            try:
                self._disk.truncate(self._open[-1], self._size)
            except OSError as error:
                raise Torn(error.errno, f"an unfinished line stays: {error.strerror}") from error

    def _roll(self) -> None:
        if len(self._open) == MAX_UNSYNCED_SEGMENTS:
            raise OSError(errno.EAGAIN, f"{MAX_UNSYNCED_SEGMENTS} segments wait for a sync")
        self._segment += 1
        try:
            self._open_segment(self._path(), new=True)
        except OSError:
            self._segment -= 1
            raise
        self._named = True

    def _open_segment(self, path: Path, *, new: bool) -> None:
        fd = self._disk.open(path, new=new)
        self._open.append(fd)
        self._size = os.fstat(fd).st_size

    def _path(self) -> Path:
        return self._entries / f"{self._segment:08d}.jsonl"


class Torn(OSError):
    """The last line may be incomplete: nothing may be appended before recovery has cut it."""
