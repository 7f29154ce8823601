"""Follows the file of the settings while a process runs, for the sections that need no restart.

In: the file, the settings of the start. Out: new settings once the file holds others that are valid. Called
by the worker, which takes the section `shadow` of them; the rest waits for a restart, and that is said. A
file that cannot be used, or is being written, changes nothing.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from authz.config import Settings
from authz.config_file import load
from authz.errors import ConfigError

log = structlog.get_logger(__name__)

HOT = frozenset(("shadow",))  # sections that are taken while the process runs

_Signature = tuple[int, int, int]


class SettingsFile:
    """`file` as it changes; None is followed, too, and never does."""

    def __init__(self, file: Path | None, settings: Settings) -> None:
        self.problem = ""
        self._file, self._started = file, settings
        self._read = self._seen = self._signature()

    def changed(self) -> bool:
        """Whether the file is another one than was read, and the same as at the look before."""
        now = self._signature()
        settled, self._seen = now == self._seen, now
        return settled and now != self._read

    def read(self) -> Settings | None:
        """What it says now; None, and `problem` set, where that cannot be used."""
        self._read = self._signature()
        try:
            fresh = load(self._file)
        except ConfigError as error:
            self.problem = str(error)
            log.error("settings_not_taken", why=self.problem)  # noqa: TRY400 - where is in the text
            return None
        self.problem = ""
        others = [
            name for name in Settings.model_fields if getattr(fresh, name) != getattr(self._started, name)
        ]
        if cold := sorted(set(others) - HOT):
            log.warning("settings_need_restart", sections=cold)
        return fresh

    def _signature(self) -> _Signature | None:
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
