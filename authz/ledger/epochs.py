"""Which of the logs below a path continue which, and whether what they say of each other is true.

    old epoch  <-- previous_log, previous_size, previous_root --  `open` of the next one
               <-- old_log, good_entries, torn_bytes ----------  `gap` after an `open`, if evidence was lost

In: the first lines of every log, read before they are verified (a log whose own verification fails is
reported as such, whatever is said here). Called by the verifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from authz import canonical
from authz.ledger import files, form, pruned
from authz.ledger.members import LOG
from authz.ledger.report import Fault

MAX_GAPS: Final = 16  # `gap` entries right after an `open` that are listened to


class Opening(Struct, frozen=True):
    """What a log's first entries say: its `open`, and the members of each `gap` right after it."""

    file: Path
    log: str = ""
    previous_log: str = ""
    previous_size: int = 0
    previous_root: str = ""
    gaps: tuple[dict[str, Any], ...] = ()

    @property
    def lost(self) -> list[tuple[str, dict[str, Any]]]:
        """The logs that a `gap` names, and what it says of them."""
        return [(gap["old_log"], gap) for gap in self.gaps if isinstance(gap.get("old_log"), str)]

    def fault(self, what: str) -> Fault:
        return Fault(what, str(self.file), 1, 0)


def read_opening(directory: Path, listing: files.Listing) -> Opening:
    """How the log in `directory` begins; of a pruned segment what its marker says, which counts only if it is
    under the log's root. Raises OSError if it cannot be read; what is no entry in it says nothing.
    """
    segment = listing.first
    if segment is None:
        segment = directory / "entries"
        lines = pruned.opening(directory) if 0 in listing.pruned else ()
    else:
        with files.open_regular(segment) as stream:
            lines = tuple(islice(files.lines(stream), MAX_GAPS + 1))
    first = _members(lines[0]) if lines else {}
    gaps = tuple(takewhile(lambda members: members.get("kind") == "gap", map(_members, lines[1:])))
    log, old, size, root = (first.get(name) for name in ("log", *form.CONTINUES))
    if type(log) is not str or not LOG.fullmatch(log):
        log = ""
    if type(old) is not str or type(size) is not int or type(root) is not str:
        return Opening(segment, log, gaps=gaps)
    return Opening(segment, log, old, size, root, gaps)


def _members(line: bytes) -> dict[str, Any]:
    try:
        return canonical.parse(line.removesuffix(b"\n"))
    except ValueError:
        return {}


class Extent(Struct, frozen=True):
    """How far a log goes on disk, the roots (32 bytes) at the sizes asked for, and whether it is whole."""

    entries: int
    torn_bytes: int
    roots: dict[int, bytes]
    whole: bool


class Epochs:
    """The relations between logs, given their openings in the order of their directories."""

    def __init__(self, openings: Sequence[Opening]) -> None:
        self._here: dict[str, Opening] = {}
        self._heirs: dict[str, list[Opening]] = {}
        self._gaps: dict[str, list[tuple[Opening, dict[str, Any]]]] = {}
        for opening in openings:
            self._here.setdefault(opening.log, opening)
            if opening.previous_log:
                self._heirs.setdefault(opening.previous_log, []).append(opening)
            for old, gap in opening.lost:
                self._gaps.setdefault(old, []).append((opening, gap))

    def cuts(self, log: str) -> tuple[int, ...]:
        """The sizes of `log` at which its root is needed: a bounded number, whatever is claimed."""
        return tuple(heir.previous_size for heir in self._heirs.get(log, ())[:1])

    def twin(self, opening: Opening) -> Fault | None:
        """A name stands for one history: a second directory that uses it is a fault."""
        first = self._here.get(opening.log, opening)
        if first is opening or not opening.log:
            return None
        return opening.fault(f"the same log is also in {first.file.parent.parent}")

    def torn(self, log: str, extent: Extent) -> str:
        """Why an incomplete last line of `log` cannot be the unfinished write of a living writer; "" if it
        can, or if the `gap` of a later epoch names exactly these bytes as lost.
        """
        gaps = self._gaps.get(log, [])
        after = [*self._heirs.get(log, ()), *(opening for opening, _ in gaps)]
        if not after or not extent.torn_bytes:
            return ""
        lost = extent.entries, extent.torn_bytes
        if any((gap.get("good_entries"), gap.get("torn_bytes")) == lost for _, gap in gaps):
            return ""
        return f"the line is not ended, and {after[0].log} has followed"

    def claim(self, opening: Opening, extents: dict[str, Extent]) -> tuple[Fault | None, str]:
        """Whether what `opening` says of the log before it is true: a fault, or what could not be checked."""
        old = opening.previous_log
        if not old:
            lost = [log for log, _ in opening.lost if log not in extents]
            return None, f"log {lost[0]}, which `gap` names: it is not here" if lost else ""
        heir = self._heirs[old][0]
        if heir is not opening:
            return opening.fault(f"previous_log: {heir.log} continues {old} too"), ""
        if old not in extents:
            return None, f"previous log {old}: it is not here"
        extent = extents[old]
        if not extent.whole:
            return None, f"previous log {old}: it has a fault of its own"
        if extent.entries != opening.previous_size:
            holds = f"{old} holds {extent.entries} entries"
            return opening.fault(f"previous_size: {opening.previous_size}, but {holds}"), ""
        if extent.roots[opening.previous_size].hex() != opening.previous_root:
            return opening.fault(f"previous_root: not the root of {old}"), ""
        return None, ""
