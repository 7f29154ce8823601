"""Where a program is: beside this Python, as `make` installs it, else on PATH."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def find(name: str) -> Path | None:
    """The executable called `name`; a name with a slash in it is taken as the path it is."""
    beside = Path(sys.executable).with_name(name) if os.sep not in name else None
    found = str(beside) if beside and os.access(beside, os.X_OK) else shutil.which(name)
    return Path(found) if found else None
