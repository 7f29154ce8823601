"""Where a program is: beside this Python, as `make` installs it, else on PATH; and how it ends with us."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

_TETHER: Final = Path(__file__).with_name("tether.py")


def find(name: str) -> Path | None:
    """The executable called `name`; a name with a slash in it is taken as the path it is."""
    beside = Path(sys.executable).with_name(name) if os.sep not in name else None
    found = str(beside) if beside and os.access(beside, os.X_OK) else shutil.which(name)
    return Path(found) if found else None


def tethered(*command: str) -> list[str]:
    """`command` as it is run so that it ends with this process, however that goes (Linux)."""
    return [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *command]
