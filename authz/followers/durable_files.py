"""Files that are whole and durable, with their names, when the call returns, wherever the machine stops.

Called by whoever keeps state beside the ledger: cursors of exporters, receipts of anchors.
"""

from __future__ import annotations

import os
from pathlib import Path


def replace(file: Path, data: bytes) -> None:
    """`file` holds `data`, or what it held before. Its directory is there. Raises OSError."""
    beside = _beside(file, data)
    beside.replace(file)
    sync_directory(file.parent)


def create(file: Path, data: bytes) -> bool:
    """Make `file` with `data`; False if there is one, which is left as it is. Raises OSError."""
    beside = _beside(file, data)
    try:
        os.link(beside, file)
    except FileExistsError:
        return False
    finally:
        beside.unlink(missing_ok=True)
    sync_directory(file.parent)
    return True


def make_directories(directory: Path) -> None:
    """`directory` and what leads to it. Raises OSError."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o750, exist_ok=True)
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Names in `path` are durable afterwards."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _beside(file: Path, data: bytes) -> Path:
    beside = file.with_name(f".{file.name}.new")
    with beside.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    return beside
