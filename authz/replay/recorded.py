"""Reads decisions with the facts that were disclosed with them, or says why there are none.

In: a path with one or more logs, which decisions are wanted, the vault or none. Out: Recorded, log by log in
the order of their entries. Called by whatever replays. What is disclosed is checked against its entry's
`_sd`: a disclosure that does not belong there is an IntegrityViolation that names file, line and seq.
Whether the entries are true says the verifier, not this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import orjson
from msgspec import Struct

from authz import canonical
from authz.errors import IntegrityViolation
from authz.ledger import files, reader
from authz.ledger.disclosures import form
from authz.ledger.disclosures.reader import Kept, Opener, fitting, kept
from authz.ledger.disclosures.vault import Vault
from authz.ledger.journal import SEGMENT_ENTRIES
from authz.values import MISSING, Reason

FACTS: Final = "facts"
PARAMETERS: Final = "parameters"
_TIME: Final = re.compile(rb'"timestamp":"([0-9TZ:.-]{27})"')
_KIND: Final = b'"kind":"decision"'
# Reasons of the authorizer's own where policy was asked, or was to be.
_UNANSWERED: Final = frozenset(
    (
        Reason.POLICY_ERROR,
        Reason.POLICY_CHANGING,
        Reason.POLICY_STALE,
        Reason.ENGINE_UNAVAILABLE,
        Reason.ENGINE_TIMEOUT,
        Reason.CALLER_GONE,
    )
)


class Why(StrEnum):
    """Why a decision cannot be replayed."""

    NOT_ASKED = "not_asked"  # the authorizer decided before policy was asked
    NO_ANSWER = "no_answer"  # policy was asked, and no version gave an answer
    NOT_CAPTURED = "not_captured"  # the facts, or a part that the version reads, were never kept
    REDACTED = "redacted"  # a part that the version reads is masked
    ERASED = "erased"  # facts were kept, and were erased or lost
    SEALED = "sealed"  # they are encrypted, and the keys are not here
    VERSION_UNKNOWN = "version_unknown"  # the version that decided is not here
    VERSION_ALTERED = "version_altered"  # something else is there under its name
    NOT_REPEATABLE = "not_repeatable"  # the version's built-ins may answer differently each time
    GIVEN_UP = "given_up"  # the version gave no answer within its time, or ended its OPA


WORDS: Final[Mapping[Why, str]] = {
    Why.NOT_ASKED: "decided before policy was asked",
    Why.NO_ANSWER: "no policy version gave an answer",
    Why.NOT_CAPTURED: "the facts, or a part that the version reads, were not kept",
    Why.REDACTED: "a part of the facts that the version reads is masked",
    Why.ERASED: "the facts were erased or lost",
    Why.SEALED: "the facts are encrypted, and their keys are not here",
    Why.VERSION_UNKNOWN: "the version that decided is not here",
    Why.VERSION_ALTERED: "something else lies here under the version's name",
    Why.NOT_REPEATABLE: "the version may answer differently each time",
    Why.GIVEN_UP: "the version gave no answer within its bounds",
}


class Wanted(Struct, frozen=True):
    """Which decisions: all that fit. `start` (from) and `end` (before) are timestamps of entries, "" for
    none; `decision_id`, `trace_id`, `session_id` "" for any.
    """

    start: str = ""
    end: str = ""
    decision_id: str = ""
    trace_id: str = ""
    session_id: str = ""

    def fits(self, members: Mapping[str, Any]) -> bool:
        at = str(members.get("timestamp", ""))
        if at < self.start or (self.end and at >= self.end):
            return False
        named = {"decision_id": self.decision_id, "trace_id": self.trace_id, "session_id": self.session_id}
        return all(members.get(name) == value for name, value in named.items() if value)

    def mentioned(self, line: bytes) -> bool:
        """Whether the bytes of an entry can be those of one that fits."""
        texts = filter(None, (self.decision_id, self.trace_id, self.session_id))
        return _KIND in line and all(canonical.encode(text) in line for text in texts)

    def timely(self, line: bytes) -> bool:
        """By the time in the bytes of an entry."""
        found = _TIME.search(line)
        at = found[1].decode() if found else ""
        return at >= self.start and (not self.end or at < self.end)


class Recorded(Struct, frozen=True):
    """A decision: its entry, and the `question` that policy was asked, as far as that was kept: `masked` are
    JSON pointers to what is not shown. Without a question, `why`.
    """

    members: dict[str, Any]
    file: Path
    line: int
    question: bytes = b""
    masked: tuple[str, ...] = ()
    why: Why | None = None
    names: tuple[str, ...] = ()  # of all disclosures that were opened
    parameters: Any = MISSING  # as they were disclosed, redacted

    @property
    def log(self) -> str:
        return str(self.members.get("log"))

    @property
    def seq(self) -> int:
        return int(self.members["seq"])

    @property
    def decision_id(self) -> str:
        return str(self.members.get("decision_id"))

    @property
    def digest(self) -> str:
        """Of the policy version that decided, `none` where no version of ours did."""
        return str(self.members.get("policy_digest", "none"))

    def violated(self, what: str) -> IntegrityViolation:
        return IntegrityViolation(what, file=str(self.file), line=self.line, seq=self.seq)


def decisions(path: Path, wanted: Wanted, vault: Vault | None) -> Iterator[Recorded]:
    """The decisions at or below `path` that are wanted. Raises IntegrityViolation, KeyUnusable, OSError."""
    for place in files.discover(path)[0]:
        yield from of_log(place.path, wanted, vault)


def count(path: Path, wanted: Wanted) -> int:
    """How many decisions may be wanted, by their times: for a progress bar."""
    places = files.discover(path)[0]
    return sum(
        wanted.mentioned(found.entry) and wanted.timely(found.entry)
        for place in places
        for found in reader.entries(place.path)
    )


def of_log(log: Path, wanted: Wanted, vault: Vault | None, first: int = 0) -> Iterator[Recorded]:
    """Those of one log, from entry `first` on."""
    disclosed = _Disclosed(log, vault)
    for found in reader.entries(log, first):
        if wanted.mentioned(found.entry):
            members = found.members()
            if members.get("kind") == "decision" and wanted.fits(members):
                yield disclosed.recorded(found, members)


def of_entry(members: dict[str, Any], file: Path, line: int, lines: list[Kept]) -> Recorded:
    """The decision with these members, from line `line` of `file`, by the opened `lines` of its disclosures.
    Raises IntegrityViolation for one that does not belong to it.
    """
    named, undecided = members.get(form.MEMBER), _undecided(members)
    if not named:
        return Recorded(members, file, line, why=undecided or Why.NOT_CAPTURED)
    said = {each.name: each.value for kept in lines for each in fitting(kept, named)}
    question, masked = _read(said[FACTS], lines[0]) if FACTS in said else (b"", ())
    return Recorded(
        members,
        file,
        line,
        question,
        masked,
        undecided or (None if question else _lost(lines, named)),
        tuple(sorted(said)),
        said.get(PARAMETERS, MISSING),
    )


class _Disclosed:
    """What lies beside one log, of one segment at a time."""

    def __init__(self, log: Path, vault: Vault | None) -> None:
        self._log, self._vault = log, vault
        self._number = -1
        self._lines: dict[int, list[Kept]] = {}
        self._opener: Opener | None = None

    def recorded(self, found: reader.Found, members: dict[str, Any]) -> Recorded:
        lines = self._of(found.seq, str(members.get("log"))) if members.get(form.MEMBER) else []
        return of_entry(members, found.file, found.line, lines)

    def _of(self, seq: int, log: str) -> list[Kept]:
        number = seq // SEGMENT_ENTRIES
        if number != self._number or self._opener is None:
            self._number, self._lines = number, {}
            self._opener = Opener(self._log, log, self._vault)
            for each in kept(self._log, number):
                self._lines.setdefault(each.line.seq, []).append(each)
        return [self._opener.open(each) for each in self._lines.get(seq, ())]


def _undecided(members: Mapping[str, Any]) -> Why | None:
    """Why no version's answer is behind a decision; None if one is."""
    if members.get("engine", "none") != "none":
        return None
    return Why.NO_ANSWER if members.get("reason_code") in _UNANSWERED else Why.NOT_ASKED


def _lost(lines: list[Kept], named: list[str]) -> Why:
    """Why the facts are not among the disclosures of an entry that names some."""
    if any(line.sd is None and not line.erased for line in lines):
        return Why.SEALED
    return Why.ERASED if sum(len(line.sd or ()) for line in lines) < len(named) else Why.NOT_CAPTURED


def _read(value: Any, line: Kept) -> tuple[bytes, tuple[str, ...]]:
    shown = value.get("input") if isinstance(value, dict) else None
    masked = value.get("masked") if isinstance(value, dict) else None
    if not isinstance(shown, dict) or not isinstance(masked, list):
        raise line.violated("facts: not an input and pointers to what is masked")
    return orjson.dumps(shown, option=orjson.OPT_SORT_KEYS), tuple(map(str, masked))
