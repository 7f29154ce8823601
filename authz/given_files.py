"""Files that the settings name for whoever asks others: certificates, secrets.

In: a path. Out: its bytes, or ConfigError naming the file and never what is in it.
"""

from __future__ import annotations

import stat
from pathlib import Path

from authz.errors import ConfigError


def read(file: Path) -> bytes:
    """Raises ConfigError."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None


def read_private(file: Path) -> bytes:
    """The same of a file with secrets. Raises ConfigError also if others may read it."""
    data = read(file)
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{file}: others may read it; chmod 0600")
    return data
