"""Legal holds: what must not be deleted or erased until somebody lets go of it.

    <state>/holds/<name>.json    {"logs", "agent_id", "start", "end", "who", "why"}; what is missing means all

In: entries. Out: the name of a hold that covers one. Called by retention and by whoever erases. A hold counts
from the moment its file is there, and its `hold` event is put right after; it is let go of only after that
was said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from authz.errors import ConfigError
from authz.followers.durable_files import make_directories, replace, sync_directory

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}")
Say = Callable[[dict[str, Any]], None]
"""Puts the `hold` event where it is durable, or raises."""


class Hold(Struct, frozen=True, omit_defaults=True):
    """Covers entries of `logs` (all if empty) by or through `agent_id` (any if empty), from `start` up to and
    without `end` (RFC 3339 in UTC, six decimals; "" for no bound).
    """

    name: str
    who: str
    why: str
    logs: tuple[str, ...] = ()
    agent_id: str = ""
    start: str = ""
    end: str = ""

    def covers(self, entry: Mapping[str, Any]) -> bool:
        at = str(entry.get("timestamp"))
        if (self.logs and entry.get("log") not in self.logs) or at < self.start:
            return False
        return not (self.end and at >= self.end) and (not self.agent_id or self._names(entry))

    def _names(self, entry: Mapping[str, Any]) -> bool:
        """By or through the agent; of a chain that gave way to its digest nobody knows."""
        chain = entry.get("agent_chain", ())
        return entry.get("agent_id") == self.agent_id or isinstance(chain, str) or self.agent_id in chain

    def event(self, action: str) -> dict[str, Any]:
        """The members of the `hold` event."""
        said: dict[str, Any] = {"action": action, "name": self.name, "who": self.who, "why": self.why}
        if action == "lift":
            return said
        optional = {"logs": list(self.logs), "agent_id": self.agent_id, "from": self.start, "to": self.end}
        return said | {name: value for name, value in optional.items() if value}


class Holds:
    """Those below `directory`."""

    def __init__(self, directory: Path, say: Say) -> None:
        self._directory, self._say = directory, say

    def all(self) -> list[Hold]:
        """By name. Raises ConfigError for a file that is none: nobody knows what it covers, OSError."""
        found = []
        for file in sorted(self._directory.glob("*.json")):
            try:
                found.append(msgspec.json.decode(file.read_bytes(), type=Hold))
            except msgspec.DecodeError as error:
                raise ConfigError(f"{file}: not a hold: {error}") from None
        return found

    def add(self, hold: Hold) -> None:
        """Raises ConfigError for a name that is taken or none, and what `say` raises: then it holds all the
        same, and adding it again says it.
        """
        if not _NAME.fullmatch(hold.name):
            raise ConfigError(f"{hold.name}: a hold's name has letters, digits, `.`, `_` and `-`")
        there = next((each for each in self.all() if each.name == hold.name), None)
        if there not in (None, hold):
            raise ConfigError(f"{hold.name}: there is such a hold already")
        make_directories(self._directory)
        replace(self._file(hold.name), msgspec.json.encode(hold))
        self._say(hold.event("set"))

    def release(self, name: str, who: str, why: str) -> None:
        """Raises ConfigError if there is no such hold, and what `say` raises: then it still holds."""
        if name not in {each.name for each in self.all()}:
            raise ConfigError(f"{name}: there is no such hold")
        self._say(Hold(name, who, why).event("lift"))
        self._file(name).unlink()
        sync_directory(self._directory)

    def covering(self) -> Callable[[Mapping[str, Any]], str]:
        """The name of a hold that covers an entry, "" for none, as they are now."""
        holds = self.all()
        return lambda entry: next((hold.name for hold in holds if hold.covers(entry)), "")

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.json"
