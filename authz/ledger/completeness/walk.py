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


class Walk(Struct):
    """`first` and `last` are timestamps, "" of an empty log. `contradiction`: the first size at which the
    tree is not what was reported, -1 for none. Of `pruned` entries only hashes are left: nobody can say what
    they were about, but for the first of a log.
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
    pruned: int = 0


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
        if entry.seq != tree.size:
            _pass_over(directory, tree, entry.seq, found, interval)
        tree.append(merkle.leaf_hash(entry.entry))
        wanted = _compare(found, tree, wanted, heads)
        if found.last and apart_s(found.last, members["timestamp"]) > silence_s:
            found.pauses.append((found.last, members["timestamp"]))
        _note(found, members, interval)
        if joining:
            joining.take(members)
    _pass_over(directory, tree, -1, found, interval)
    _compare(found, tree, wanted, heads)
    found.size = tree.size
    return found


def _compare(
    found: Walk,
    tree: merkle.CompactRange,
    wanted: tuple[int, bytes] | None,
    heads: Iterator[tuple[int, bytes]],
) -> tuple[int, bytes] | None:
    """Compare what was reported of the tree as it is now; the next that was reported of a larger one."""
    while wanted and wanted[0] <= tree.size:
        if wanted[0] == tree.size and wanted[1] != tree.root() and found.contradiction < 0:
            found.contradiction = tree.size
        wanted = next(heads, None)
    return wanted


def _pass_over(
    directory: Path, tree: merkle.CompactRange, upto: int, found: Walk, interval: tuple[str, str]
) -> None:
    """Take the hashes of pruned segments, up to entry `upto` or, if that is -1, to the end of the log."""
    gone = files.segments(directory).pruned
    while tree.size != upto and tree.size % SEGMENT_ENTRIES == 0 and tree.size // SEGMENT_ENTRIES in gone:
        number = tree.size // SEGMENT_ENTRIES
        try:
            marker = pruned.read(directory, number)
            tree.join(pruned.tree(directory, number, marker))
        except ValueError as error:
            file = str(pruned.marker_file(directory, number))
            raise IntegrityViolation(str(error), file=file, seq=tree.size) from None
        for entry in marker.opening:
            _note(found, canonical.parse(entry), interval)
        found.pruned += marker.entries


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
