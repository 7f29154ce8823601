"""Walks one log for the judgement: its tree against what was reported, its times, its requests.

In: an epoch's directory, Reported, a Joining. Out: a Walk. Called for every log that has to do with the
interval; the verifier has judged forms, chain and signatures before. Entries are streamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from authz.errors import IntegrityViolation
from authz.ledger import form, merkle, reader
from authz.ledger.outcomes import Joining


class Lost(Struct, frozen=True):
    """A `gap` entry: what `old_log` had after its first `good` entries may be lost, as was said at `at`."""

    at: str
    old_log: str
    good: int
    why: str


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
    refusals: int = 0
    heartbeats: int = 0  # within the interval, as is what follows
    unsynchronized: int = 0


def walk(
    directory: Path,
    log: str,
    heads: Iterator[tuple[int, bytes]],
    interval: tuple[str, str],
    joining: Joining | None,
    silence_s: float,
) -> Walk:
    """Raises IntegrityViolation for a line that is no entry, OSError."""
    found, tree = Walk(log), merkle.CompactRange()
    wanted = next(heads, None)
    for entry in reader.entries(directory):
        try:
            members = form.read(entry.entry, log, entry.seq, None)
        except ValueError as error:
            where = {"file": str(entry.file), "line": entry.line, "seq": entry.seq}
            raise IntegrityViolation(str(error), **where) from None  # type: ignore[arg-type]
        tree.append(merkle.leaf_hash(entry.entry))
        while wanted and wanted[0] <= tree.size:
            if wanted[0] == tree.size and wanted[1] != tree.root() and found.contradiction < 0:
                found.contradiction = tree.size
            wanted = next(heads, None)
        if found.last and apart_s(found.last, members["timestamp"]) > silence_s:
            found.pauses.append((found.last, members["timestamp"]))
        _note(found, members, interval)
        if joining:
            joining.take(members)
    return found


def apart_s(before: str, after: str) -> float:
    """Seconds between two timestamps."""
    return (datetime.fromisoformat(after) - datetime.fromisoformat(before)).total_seconds()


def _note(found: Walk, members: dict[str, Any], interval: tuple[str, str]) -> None:
    at, kind = members["timestamp"], members["kind"]
    found.first, found.last, found.size = found.first or at, at, members["seq"] + 1
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
