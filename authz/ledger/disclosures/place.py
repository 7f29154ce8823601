"""Where the disclosures of an epoch lie, and who may change them when.

<epoch>/disclosures/00000000.jsonl     of the entries in the segment of the same number; may lack some
<epoch>/disclosures/lock               shared while the worker adds lines, exclusive while they are erased
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

DIRECTORY: Final = "disclosures"
LOCK: Final = "lock"
_SEGMENT: Final = re.compile(r"([0-9]{8})\.jsonl")


def file(epoch: Path, number: int) -> Path:
    """Of segment `number`."""
    return epoch / DIRECTORY / f"{number:08d}.jsonl"


def numbers(epoch: Path) -> list[int]:
    """The segments of which there are disclosures. Raises OSError."""
    directory = epoch / DIRECTORY
    if not directory.is_dir() or directory.is_symlink():
        return []
    return sorted(int(found[1]) for name in os.listdir(directory) if (found := _SEGMENT.fullmatch(name)))


def open_lock(epoch: Path) -> int:
    """A descriptor of the lock's file, which is made if it is missing. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(epoch / DIRECTORY / LOCK, flags, 0o600)


@contextmanager
def adding(lock: int) -> Iterator[bool]:
    """True while lines may be added; False at once while somebody erases. Raises OSError."""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)


@contextmanager
def changing(epoch: Path) -> Iterator[None]:
    """Alone with the disclosures of an epoch, once nobody adds any. Raises OSError."""
    lock = open_lock(epoch)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):
            os.close(lock)  # lets go of the lock, too
