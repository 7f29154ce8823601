"""Records as rotating JSON Lines, for Fluent Bit, Filebeat, Logstash and whatever else reads files.

    <directory>/<worker>/records.jsonl                            one JSON object a line, S4's columns
    <directory>/<worker>/records-20260101T000000.000000Z.jsonl    rotated by an atomic rename, then final

In: batches. Out: files. Called by the runner. A batch counts when it is synced; a line that a killed process
left unfinished is cut before anything follows. Columns only rename members, so a line can be turned back
into the entry's own bytes. Beyond `keep` rotated files of a worker the oldest go: the ledger still has what
they had.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from authz import canonical
from authz.config_exporters import FilesExport
from authz.followers.durable_files import sync_directory
from authz.followers.exporters.destination import Refused
from authz.followers.reading import Taken

ACTIVE: Final = "records.jsonl"
_ROTATED: Final = re.compile(r"records-[0-9]{8}T[0-9]{6}\.[0-9]{6}Z\.jsonl")


class Files:
    """A Destination. Files of at most `max_bytes` (but at least one line); `clock` is Unix time."""

    name = "files"
    entries = 1024
    size = 1 << 20

    def __init__(self, directory: Path, settings: FilesExport, clock: Callable[[], float]) -> None:
        self._directory, self._columns = directory, settings.columns
        self._max_bytes, self._max_age_s, self._keep = settings.max_bytes, settings.max_age_s, settings.keep
        self._clock = clock
        self._open: dict[str, _Active] = {}

    async def deliver(self, worker: str, batch: Sequence[Taken]) -> None:
        """Raises Refused if two members would share a column; OSError."""
        lines = [line(taken.members, self._columns) for taken in batch]
        await asyncio.to_thread(self._append, worker, lines)

    async def close(self) -> None:
        for active in self._open.values():
            active.close()
        self._open.clear()

    def _append(self, worker: str, lines: list[bytes]) -> None:
        try:
            active = self._active(worker)
            if active.size and self._clock() - active.since >= self._max_age_s:
                active = self._rotate(worker, active)
            for data in lines:
                if active.size and active.size + len(data) > self._max_bytes:
                    active = self._rotate(worker, active)
                active.write(data)
            active.sync()
        except OSError:
            # What was written and not synced comes again: nobody knows what became of it.
            if worker in self._open:
                self._open.pop(worker).close()
            raise

    def _active(self, worker: str) -> _Active:
        if worker not in self._open:
            self._open[worker] = _Active(self._directory / worker, self._clock())
        return self._open[worker]

    def _rotate(self, worker: str, active: _Active) -> _Active:
        active.sync()
        active.close()
        del self._open[worker]
        active.file.rename(_free_name(active.file.parent, self._clock()))
        self._prune(active.file.parent)
        return self._active(worker)

    def _prune(self, directory: Path) -> None:
        rotated = sorted(name for name in os.listdir(directory) if _ROTATED.fullmatch(name))
        for name in rotated[: -self._keep]:
            (directory / name).unlink()


class _Active:
    """The file that is written to; `since` is when it began, or was last written to by an earlier process."""

    def __init__(self, directory: Path, now: float) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.file = directory / ACTIVE
        new = not self.file.exists()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self.file, flags, 0o640)
        stat = os.fstat(self._fd)
        self.since = now if new else stat.st_mtime
        self.size = _whole(self._fd, stat.st_size)
        if self.size < stat.st_size:
            os.ftruncate(self._fd, self.size)
        sync_directory(directory)
        self._pending = bytearray()

    def write(self, data: bytes) -> None:
        self._pending += data
        self.size += len(data)

    def sync(self) -> None:
        """Raises OSError; then nothing that was written since the last sync counts."""
        view = memoryview(bytes(self._pending))
        while view:
            view = view[os.write(self._fd, view) :]
        self._pending.clear()
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


def line(members: Mapping[str, Any], columns: Mapping[str, str]) -> bytes:
    """The members under their columns' names, one canonical line. Raises Refused for a name used twice."""
    row = {columns.get(name, name): value for name, value in members.items()}
    if len(row) != len(members):
        raise Refused("two of its members have the same column")
    return canonical.encode(row) + b"\n"


def _whole(fd: int, size: int) -> int:
    """How many of the file's `size` bytes are whole lines."""
    while size:
        start = max(0, size - (1 << 16))
        found = os.pread(fd, size - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0


def _free_name(directory: Path, now: float) -> Path:
    """A name after which nothing is called yet."""
    micros = int(now * 1_000_000)
    while True:
        when = datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000)
        file = directory / f"records-{when:%Y%m%dT%H%M%S.%fZ}.jsonl"
        if not file.exists():
            return file
        micros += 1
