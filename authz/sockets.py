"""Which directories a Unix socket may lie in, for whoever listens on it and for whoever asks there.

Who may write to the directory of a socket can put one of their own in its place, and answer or ask what they
like. Used by `wire/listening.py` and `policy/engine_opa.py`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def is_private(directory: Path) -> bool:
    """Whether only this user and root can put something there. Raises OSError where there is none."""
    found = directory.stat()
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
