"""Whether the disclosures that lie beside a segment fit its entries: each is among its entry's `_sd`.

In: a segment's place, a vault or none; then the segment's entries in order. Out: counts, and the first fault.
Called by the verifier, possibly in another process. What is erased or lost is counted, and is no fault: an
entry vouches for what it disclosed and not for its being kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import UNSET, Struct

from authz.errors import IntegrityViolation, KeyUnusable
from authz.ledger.disclosures import form, place
from authz.ledger.disclosures.reader import Kept, Opener, kept
from authz.ledger.disclosures.vault import Vault
from authz.ledger.journal import SEGMENT_ENTRIES
from authz.ledger.report import Disclosed, Fault


class _Line(Struct, frozen=True):
    """What is needed of one line: its place, and the digests of what it discloses, none while encrypted."""

    number: int
    digests: tuple[str, ...]


class Fitting:
    """Of one segment. `fault` is the first; `found` counts digests, but for lines without an entry."""

    def __init__(self, epoch: Path, log: str, number: int, vault: Vault | None) -> None:
        self.fault: Fault | None = None
        self.found = Disclosed()
        self._file, self._first = place.file(epoch, number), number * SEGMENT_ENTRIES
        self._lines: dict[int, list[_Line]] = {}
        try:
            opener = Opener(epoch, log, vault)
            for each in kept(epoch, number):
                self._add(each, opener)
        except IntegrityViolation as violation:
            self._violated(violation.what, violation.line, violation.seq)
        except KeyUnusable as error:
            self._violated(str(error), 0, -1)

    def _add(self, each: Kept, opener: Opener) -> None:
        seq = each.line.seq
        if not self._first <= seq < self._first + SEGMENT_ENTRIES:
            raise each.violated("of an entry of another segment")
        digests = tuple(map(form.digest, opener.open(each).sd or ()))
        self._lines.setdefault(seq, []).append(_Line(each.number, digests))

    def run(self, entries: Sequence[Any], seq: int) -> None:
        """Entries from number `seq` on, as `runs.read` gives them."""
        for number, entry in enumerate(entries, seq):
            if entry._sd is not UNSET or number in self._lines:
                self.entry(None if entry._sd is UNSET else entry._sd, number)

    def entry(self, named: Any, seq: int) -> None:
        """One entry of the segment, and its member `_sd`, None where there is none."""
        if named is None and seq not in self._lines:
            return
        wanted = set(named) if isinstance(named, list) and all(type(text) is str for text in named) else set()
        there: set[str] = set()
        encrypted = False
        for line in self._lines.pop(seq, ()):
            encrypted = encrypted or not line.digests
            there.update(line.digests)
            if not wanted.issuperset(line.digests):
                what = "a disclosure that is not among the digests of its entry"
                self._violated(what, line.number, seq)
        left = len(wanted - there)
        self.found.fit += len(wanted & there)
        self.found.encrypted += left if encrypted else 0
        self.found.absent += 0 if encrypted else left

    def end(self) -> None:
        """All entries were there."""
        self.found.strange = len(self._lines)

    def _violated(self, what: str, line: int, seq: int) -> None:
        self.fault = self.fault or Fault(what, str(self._file), line, seq)
