"""What reviewers said of decisions: whether each stopped, or would have stopped, what it should.

    label entries of the control logs in their order, then those that wait in the outbox
        ->  by decision, the last of each reviewer

In: a path with the deployment's logs, and its outbox. Out: Labels. Called by reports. It believes what it
reads: whether that is true says the verifier.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from authz.errors import IntegrityViolation
from authz.ledger import control, files, form, reader
from authz.ledger.outbox import MAX_WAITING, Outbox

KIND: Final = "label"
TRUE_POSITIVE: Final = "true_positive"
FALSE_POSITIVE: Final = "false_positive"
_LINE: Final = b'"kind":"label"'  # entries are canonical: it is written in no other way


class Labels(Struct):
    """`of`: decision id -> reviewer -> what that reviewer said last. `waiting`: labels not yet in the log."""

    of: dict[str, dict[str, str]] = {}
    waiting: int = 0

    def verdict(self, decision_id: str) -> str:
        """What all its reviewers say; "disputed" where they do not agree, "" where nobody said anything."""
        said = set(self.of.get(decision_id, {}).values())
        return "disputed" if len(said) > 1 else said.pop() if said else ""

    def take(self, said: Mapping[str, Any]) -> None:
        """One label, later than those before."""
        self.of.setdefault(said["decision_id"], {})[said["who"]] = said["label"]


def read(ledger: Path, outbox: Path) -> Labels:
    """Raises IntegrityViolation for an entry that is none, EvidenceUnavailable for an outbox that cannot be
    read, OSError. An outbox that is not there has nothing.
    """
    labels, written = Labels(), set()
    for entry in _entries(ledger):
        labels.take(entry)
        written.add(entry.get("event_id", ""))
    if outbox.exists():
        with Outbox(outbox) as waiting:
            for event in waiting.waiting(MAX_WAITING):
                if event.kind == KIND and event.event_id not in written:
                    labels.take(event.members)
                    labels.waiting += 1
    return labels


def _entries(ledger: Path) -> Iterator[dict[str, Any]]:
    """Label entries of control logs, one epoch after the other."""
    for place in files.discover(ledger)[0]:
        log = reader.first_entry(place.path).get("log")
        if not isinstance(log, str) or log.split("/")[1:2] != [control.WORKER]:
            continue
        for found in reader.entries(place.path):
            if _LINE not in found.entry:
                continue
            try:
                members = form.read(found.entry, log, found.seq, None)
            except ValueError as error:
                what = str(error)
                raise IntegrityViolation(what, file=str(found.file), line=found.line, seq=found.seq) from None
            if members["kind"] == KIND:
                yield members
