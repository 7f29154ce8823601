"""What tells one machine's history from another's: boot id and where a directory really lies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Changes with every start of the machine (random(4))."""
    return _BOOT_ID.read_text().strip()


def directory_id(path: Path) -> str:
    """`device:inode` of a directory: a copy has another."""
    found = os.stat(path)
    return f"{found.st_dev}:{found.st_ino}"
