"""One process at a time: an advisory lock on a file, gone with the process that holds it (flock(2))."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from authz.errors import LedgerLocked


class Lock:
    """Held until `release` or the end of the process. Raises LedgerLocked with `what` if another holds it,
    OSError if the file cannot be had.
    """

    def __init__(self, file: Path, what: str) -> None:
        self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise LedgerLocked(what) from None

    def release(self) -> None:
        """Let others have it. Once only."""
        os.close(self._fd)
