"""Which of the logs below a path continue which, and whether what they say of each other is true.

    old epoch  <-- previous_log, previous_size, previous_root --  `open` of the next one
               <-- old_log, good_entries, torn_bytes ----------  `gap`, its second entry, if evidence was lost

In: the first two lines of every log, read before they are verified (a log whose own verification fails is
reported as such, whatever is said here). Called by the verifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from authz import canonical
from authz.ledger import files, form
from authz.ledger.report import Fault


class Opening(Struct, frozen=True):
    """What a log's first two entries say. "" and {} where there is nothing that can be read."""

    file: Path
    log: str = ""
    previous_log: str = ""
    previous_size: int = 0
    previous_root: str = ""
    gap: dict[str, Any] = {}

    def fault(self, what: str) -> Fault:
        return Fault(what, str(self.file), 1, 0)


def read_opening(segment: Path) -> Opening:
    """Raises OSError if the segment cannot be read."""
    with files.open_regular(segment) as stream:
        first, second = (_members(stream.readline(files.MAX_LINE)) for _ in range(2))
    log, old, size, root = (first.get(name) for name in ("log", *form.CONTINUES))
    if type(log) is not str or not form.LOG.fullmatch(log):
        log = ""
    gap = second if second.get("kind") == "gap" else {}
    if type(old) is not str or type(size) is not int or type(root) is not str:
        return Opening(segment, log, gap=gap)
    return Opening(segment, log, old, size, root, gap)


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
        self._heirs: dict[str, list[Opening]] = {}
        self._here: dict[str, Opening] = {}
        for opening in openings:
            self._here.setdefault(opening.log, opening)
            for old in {opening.previous_log, opening.gap.get("old_log")}:
                if isinstance(old, str) and old:
                    self._heirs.setdefault(old, []).append(opening)

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
        can, or if the next epoch's `gap` names exactly these bytes as lost.
        """
        heirs = self._heirs.get(log)
        if not heirs or not extent.torn_bytes:
            return ""
        gap = heirs[0].gap
        named = gap.get("old_log"), gap.get("good_entries"), gap.get("torn_bytes")
        if named == (log, extent.entries, extent.torn_bytes):
            return ""
        return f"the line is not ended, and {heirs[0].log} has followed"

    def claim(self, opening: Opening, extents: dict[str, Extent]) -> tuple[Fault | None, str]:
        """Whether what `opening` says of the log before it is true: a fault, or what could not be checked."""
        old = opening.previous_log
        if not old:
            lost = opening.gap.get("old_log")
            return None, f"log {lost}, which `gap` names: no size or root is claimed" if isinstance(
                lost, str
            ) else ""
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
