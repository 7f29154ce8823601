"""What a receiver refused for good: kept with the reason, so that an exporter can go on without losing it.

    <state>/export/<exporter>/dead_letters.jsonl
    {"entry":{...},"entry_hash":"<hex>","log":"...","reason":"...","seq":7,"time":"..."}      one line each

Called by the runner, which moves its cursor only after `add` has returned. Full, it raises OSError and the
exporter waits: an operator takes the file away, and nothing is lost.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from authz import canonical
from authz.followers.durable_files import sync_directory
from authz.followers.reading import Taken

MAX_FILE: Final = 64 << 20  # bytes
MAX_REASON: Final = 1024  # characters of what a receiver said


class DeadLetters:
    """`count` were added by this process."""

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        self.file = directory / "dead_letters.jsonl"
        self._clock = clock
        self.count = 0

    def add(self, taken: Taken, reason: str) -> None:
        """Durable when this returns. Raises OSError, also when the file is full."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        line = canonical.encode(
            {
                "entry": taken.members,
                "entry_hash": taken.entry_hash,
                "log": taken.log,
                "reason": reason[:MAX_REASON],
                "seq": taken.seq,
                "time": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            }
        )
        self.file.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self.file, flags, 0o640)
        with os.fdopen(fd, "ab", buffering=0) as stream:
            if os.fstat(fd).st_size + len(line) > MAX_FILE:
                raise OSError(errno.EFBIG, f"holds {MAX_FILE >> 20} MiB: take it away", str(self.file))
            stream.write(b"\n" + line + b"\n" if _torn(self.file) else line + b"\n")
            os.fsync(fd)
        sync_directory(self.file.parent)
        self.count += 1

    def stored(self) -> int:
        """How many lines the file holds. Raises OSError."""
        try:
            with self.file.open("rb") as stream:
                return sum(1 for line in stream if line != b"\n")
        except FileNotFoundError:
            return 0


def _torn(file: Path) -> bool:
    """Whether a process was killed in the middle of the last line: what follows begins a new one."""
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        if not size:
            return False
        stream.seek(size - 1)
        return stream.read(1) != b"\n"
