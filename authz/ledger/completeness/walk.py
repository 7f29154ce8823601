"""Walks one log for the judgement: its tree against what was reported, its times, its requests.

In: an epoch's directory, what was reported of it, a Joining. Out: a Walk. Called for every log that has to do
with the interval; the verifier has judged forms, chain and signatures before. Entries are streamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from authz import canonical
from authz.errors import IntegrityViolation
from authz.ledger import files, form, merkle, pruned, reader
from authz.ledger.journal import SEGMENT_ENTRIES
from authz.ledger.outcomes import Joining


class Lost(Struct, frozen=True):
    """A `gap` entry: what `old_log` had after its first `good` entries may be lost, as was said at `at`."""

    at: str
    old_log: str
    good: int
    why: str


class Pruned(Struct):
    """Segment `number` was deleted: its `entries` lie between `since` and `until` ("": unknown)."""

    number: int
    entries: int
    since: str
    until: str = ""


class Walk(Struct):
    """`first` and `last` are timestamps, "" of an empty log. `contradiction`: the first size at which the
    tree is not what was reported, -1 for none.
    """

    log: str
    previous: str = ""
    first: str = ""
    last: str = ""
    size: int = 0
    closed: bool = False
    inside: int = 0  # entries within the interval
    contradiction: int = -1
    gaps: list[Lost] = field(default_factory=list)
    pauses: list[tuple[str, str]] = field(default_factory=list)  # longer than was asked for
    pruned: list[Pruned] = field(default_factory=list)
    refusals: int = 0
    heartbeats: int = 0  # within the interval, as is what follows
    unsynchronized: int = 0


class Walking:
    """One walk: `found` so far. Raises IntegrityViolation for a line that is no entry, OSError."""

    def __init__(
        self,
        log: str,
        heads: Iterator[tuple[int, bytes]],
        interval: tuple[str, str],
        joining: Joining | None,
        silence_s: float,
    ) -> None:
        self.found = Walk(log)
        self._heads, self._interval = heads, interval
        self._joining, self._silence_s = joining, silence_s
        self._tree, self._wanted = merkle.CompactRange(), next(heads, None)

    def walk(self, directory: Path) -> Walk:
        """Over what is in `directory`, which is all of the log."""
        listing = files.segments(directory)
        for number, part in enumerate(listing.parts(directory)):
            if number in listing.pruned:
                self._pass(directory, number)
                continue
            for entry in reader.of_segment(part, number * SEGMENT_ENTRIES):
                self._take(entry)
        return self.found

    def _pass(self, directory: Path, number: int) -> None:
        """A segment that was deleted: its hashes are there, and of the log's first one its opening."""
        found = self.found
        try:
            marker = pruned.read(directory, number)
            self._tree.join(pruned.tree(directory, number, marker))
        except ValueError as error:
            file = str(pruned.marker_file(directory, number))
            raise IntegrityViolation(str(error), file=file) from None
        opening = [canonical.parse(entry) for entry in marker.opening]
        since = str(opening[0]["timestamp"]) if opening else found.last
        for members in opening:
            _note(found, members, self._interval)
        found.size = self._tree.size
        found.pruned.append(Pruned(number, marker.entries, since))
        self._compare()

    def _take(self, entry: reader.Found) -> None:
        found = self.found
        try:
            members = form.read(entry.entry, found.log, entry.seq, None)
        except ValueError as error:
            raise IntegrityViolation(
                str(error), file=str(entry.file), line=entry.line, seq=entry.seq
            ) from None
        self._tree.append(merkle.leaf_hash(entry.entry))
        self._compare()
        at = members["timestamp"]
        if found.last and apart_s(found.last, at) > self._silence_s:
            found.pauses.append((found.last, at))
        if found.pruned and not found.pruned[-1].until:
            found.pruned[-1].until = at
        _note(found, members, self._interval)
        found.size = self._tree.size
        if self._joining:
            self._joining.take(members)

    def _compare(self) -> None:
        """The tree with what was reported of it."""
        size = self._tree.size
        while self._wanted and self._wanted[0] <= size:
            same = self._wanted[0] != size or self._wanted[1] == self._tree.root()
            if not same and self.found.contradiction < 0:
                self.found.contradiction = size
            self._wanted = next(self._heads, None)


def apart_s(before: str, after: str) -> float:
    """Seconds between two timestamps."""
    return (datetime.fromisoformat(after) - datetime.fromisoformat(before)).total_seconds()


def _note(found: Walk, members: dict[str, Any], interval: tuple[str, str]) -> None:
    at, kind = members["timestamp"], members["kind"]
    found.first, found.last = found.first or at, at
    inside = interval[0] <= at <= interval[1]
    found.inside += inside
    if kind == "open":
        previous = members.get("previous_log")
        found.previous = previous if isinstance(previous, str) else ""
    elif kind == "close":
        found.closed = True
    elif kind == "gap":
        old, good, why = (members.get(name) for name in ("old_log", "good_entries", "why"))
        found.gaps.append(Lost(at, str(old), good if type(good) is int else 0, str(why)))
    elif kind == "heartbeat" and inside:
        found.heartbeats += 1
        found.refusals += _counted(members.get("refusals"))
        clock = members.get("clock")
        if isinstance(clock, dict) and clock.get("state") != "synchronized":
            found.unsynchronized += 1


def _counted(said: Any) -> int:
    items = said if isinstance(said, list) else []
    counts = [item.get("count") for item in items if isinstance(item, dict)]
    return sum(count for count in counts if type(count) is int and count > 0)
