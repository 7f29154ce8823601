"""What the control log says of each worker log: opened, so far, closed; in the order in which it said so.

In: the epochs of the control log, verified. Out: Reported by log. Called by the judgement. A head takes 48
bytes in memory, and only those around the interval are kept: 4 MB for ten logs in a day.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from authz.ledger import reader

ROOT_BYTES = 32


def micros(timestamp: str) -> int:
    """Microseconds since 1970 of an entry's timestamp."""
    moment = datetime.fromisoformat(timestamp)
    return round(moment.timestamp() * 1_000_000)


def stamp(moment: int) -> str:
    """The timestamp of `micros`."""
    seconds, rest = divmod(moment, 1_000_000)
    when = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
    return f"{when:%Y-%m-%dT%H:%M:%S.%f}Z"


class Reported(Struct):
    """One log, as the control log says. `opened` and `closed` are when it said so (microseconds, -1: never);
    `size` is the largest size it knows of. `times`, `sizes` and `roots` are of what it said around the
    interval, opening and closing included. `contradiction`: the first thing it said that cannot be.
    """

    log: str
    opened: int = -1
    closed: int = -1
    end: str = ""
    size: int = 0
    root: str = ""
    times: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    roots: bytearray = field(default_factory=bytearray)
    contradiction: str = ""

    def add(self, kind: str, members: dict[str, Any], at: int, *, keep: bool) -> None:
        """One entry of the control log about this log."""
        size, root = members["size"], members["root"]
        if size < self.size:
            self._contradicts(f"{kind} of {size} entries after one of {self.size}")
        elif size == self.size and self.root not in ("", root):
            self._contradicts(f"{kind}: two roots of {size} entries")
        elif self.closed >= 0 and (size, root) != (self.size, self.root):
            self._contradicts(f"{kind} of {size} entries after it was closed with {self.size}")
        self.size, self.root = max(size, self.size), root if size >= self.size else self.root
        if kind == "log_open" and self.opened < 0:
            self.opened = at
        elif kind == "log_close" and self.closed < 0:
            self.closed, self.end = at, members["end"]
        if keep:
            self.times.append(at)
            self.sizes.append(size)
            self.roots += bytes.fromhex(root)

    def heads(self) -> Iterator[tuple[int, bytes]]:
        """Sizes and roots that were said, each once, in their order."""
        before = -1
        for place, size in enumerate(self.sizes):
            if size > before:
                yield size, bytes(self.roots[place * ROOT_BYTES : (place + 1) * ROOT_BYTES])
                before = size

    def _contradicts(self, what: str) -> None:
        self.contradiction = self.contradiction or what


def read(epochs: Iterable[Path], start: int, end: int) -> dict[str, Reported]:
    """By log. What was said from `start` to `end` (microseconds) is kept, also the last word before and the
    first after. Raises IntegrityViolation, OSError.
    """
    found: dict[str, Reported] = {}
    before: dict[str, tuple[str, dict[str, Any], int]] = {}
    for epoch in epochs:
        for entry in reader.entries(epoch):
            members = entry.members()
            kind = members["kind"]
            if kind not in ("log_open", "log_head", "log_close"):
                continue
            log, at = members["of"], micros(members["timestamp"])
            reported = found.setdefault(log, Reported(log))
            if at < start:
                reported.add(kind, members, at, keep=False)
                before[log] = (kind, members, at)
                continue
            if not reported.times and log in before:
                reported.add(*before[log], keep=True)
            after = bool(reported.times) and reported.times[-1] > end
            reported.add(kind, members, at, keep=not after)
    for log, (kind, members, at) in before.items():
        if not found[log].times:
            found[log].add(kind, members, at, keep=True)
    return found
