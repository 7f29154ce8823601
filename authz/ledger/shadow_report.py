"""What policy in shadow would have blocked, by rule, agent and destination, and how often wrongly.

In: a path with one or more logs, what reviewers said, an interval and a filter. Out: a ShadowReport. Called
by `aegis policy shadow-report`. Entries are streamed, memory is bounded by MAX_ROWS. It believes what it
reads: whether that is true says the verifier.

    share            would_block / requests: of the same agent and destination, as far as the row names them
    false positives  among the labelled ones on which all reviewers agree, with Wilson's score interval (95 %)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from authz.errors import IntegrityViolation
from authz.ledger import files, reader
from authz.ledger.labels import FALSE_POSITIVE, TRUE_POSITIVE, Labels
from authz.values import Decision

MAX_ROWS: Final = 10_000  # places (agent, destination) told apart, and as many rules at them; the rest is one
EXAMPLES: Final = 3  # of each row, the newest
OTHERS: Final = "(others)"
Z: Final = 1.959964  # standard deviations within which 95 % of a normal distribution lie
_WOULD_BLOCK: Final = str(Decision.WOULD_BLOCK)
_LINE: Final = b'"kind":"decision"'  # entries are canonical: it is written in no other way


class Filter(Struct, frozen=True):
    """Decisions from `start` on and before `end` (timestamps as in entries); "" leaves out a condition."""

    start: str = ""
    end: str = ""
    rule: str = ""
    agent: str = ""
    destination: str = ""


class Reviewed(Struct):
    """What reviewers said of the decisions of one row. `share`: of false positives among those they agree on,
    from `low` to `high`; None where nothing is labelled.
    """

    labelled: int = 0
    true_positives: int = 0
    false_positives: int = 0
    disputed: int = 0
    share: float | None = None
    low: float | None = None
    high: float | None = None


class Row(Struct):
    """`rule`, `agent`, `destination`: "" where the row is over all of them."""

    rule: str = ""
    agent: str = ""
    destination: str = ""
    requests: int = 0
    would_block: int = 0
    share: float = 0.0
    policy_decisions: dict[str, int] = {}  # what policy said: deny, approval_needed, sanitize
    first: str = ""
    last: str = ""
    examples: list[str] = []  # decision ids
    reviewed: Reviewed = msgspec.field(default_factory=Reviewed)


class ShadowReport(Struct):
    """Each list with what would have been blocked most often first. `rows` are by all three."""

    asked: Filter
    total: Row
    rules: list[Row]
    agents: list[Row]
    destinations: list[Row]
    rows: list[Row]


class _Decision(Struct):
    """The members of a decision that are looked at."""

    timestamp: str
    decision_id: str
    decision: str
    agent_id: str
    kind: str
    rule: str = ""
    endpoint: str = "unknown"
    policy_decision: str = ""


_DECODER: Final = msgspec.json.Decoder(_Decision)
_Key = tuple[str, str, str]  # rule, agent, destination


class Counting:
    """Takes decisions in any order."""

    def __init__(self, asked: Filter, labels: Labels) -> None:
        self._asked, self._labels = asked, labels
        self._requests: dict[tuple[str, str], int] = {}  # by agent and destination
        self._rows: dict[_Key, Row] = {}

    def take(self, entry: _Decision) -> None:
        at, asked = entry.timestamp, self._asked
        if at < asked.start or (asked.end and at >= asked.end):
            return
        agent, destination = entry.agent_id, destination_of(entry.endpoint)
        if asked.agent not in ("", agent) or asked.destination not in ("", destination):
            return
        where = (agent, destination)
        if where not in self._requests and len(self._requests) >= MAX_ROWS:
            where = (OTHERS, OTHERS)
        self._requests[where] = self._requests.get(where, 0) + 1
        if entry.decision == _WOULD_BLOCK and asked.rule in ("", entry.rule):
            self._count(entry, (entry.rule, *where))

    def _count(self, entry: _Decision, key: _Key) -> None:
        if key not in self._rows and len(self._rows) >= MAX_ROWS:
            key = (OTHERS, *key[1:])
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = Row(*key)
        said, at = entry.policy_decision, entry.timestamp
        row.would_block += 1
        row.policy_decisions[said] = row.policy_decisions.get(said, 0) + 1
        row.first, row.last = min(row.first or at, at), max(row.last, at)
        row.examples = [*row.examples[1 - EXAMPLES :], entry.decision_id]
        if verdict := self._labels.verdict(entry.decision_id):
            reviewed = row.reviewed
            reviewed.labelled += 1
            reviewed.true_positives += verdict == TRUE_POSITIVE
            reviewed.false_positives += verdict == FALSE_POSITIVE
            reviewed.disputed += verdict not in (TRUE_POSITIVE, FALSE_POSITIVE)

    def result(self) -> ShadowReport:
        """What was taken so far."""
        rows = list(self._rows.values())
        return ShadowReport(
            asked=self._asked,
            total=next(iter(self._over(rows)), Row(requests=sum(self._requests.values()))),
            rules=self._over(rows, "rule"),
            agents=self._over(rows, "agent"),
            destinations=self._over(rows, "destination"),
            rows=self._over(rows, "rule", "agent", "destination"),
        )

    def _over(self, rows: list[Row], *names: str) -> list[Row]:
        """The rows, those together that are alike in `names`."""
        sums: dict[tuple[str, ...], Row] = {}
        for row in rows:
            named = {name: getattr(row, name) for name in names}
            _add(sums.setdefault(tuple(named.values()), Row(**named)), row)
        requests = self._requests_by("agent" in names, "destination" in names)
        for row in sums.values():
            row.requests = requests[row.agent, row.destination]
            row.share = row.would_block / row.requests
            _estimate(row.reviewed)
        return sorted(sums.values(), key=lambda row: (-row.would_block, row.rule, row.agent, row.destination))

    def _requests_by(self, agent: bool, destination: bool) -> dict[tuple[str, str], int]:
        """Requests by what is asked for; "" stands for the other."""
        sums: dict[tuple[str, str], int] = {}
        for (by, to), count in self._requests.items():
            key = (by if agent else "", to if destination else "")
            sums[key] = sums.get(key, 0) + count
        return sums


def _add(total: Row, row: Row) -> None:
    total.would_block += row.would_block
    for said, count in row.policy_decisions.items():
        total.policy_decisions[said] = total.policy_decisions.get(said, 0) + count
    total.first, total.last = min(total.first or row.first, row.first), max(total.last, row.last)
    total.examples = sorted([*total.examples, *row.examples])[-EXAMPLES:]  # UUIDv7: the newest last
    for name in ("labelled", "true_positives", "false_positives", "disputed"):
        setattr(total.reviewed, name, getattr(total.reviewed, name) + getattr(row.reviewed, name))


def _estimate(reviewed: Reviewed) -> None:
    agreed = reviewed.true_positives + reviewed.false_positives
    if agreed:
        reviewed.share = reviewed.false_positives / agreed
        reviewed.low, reviewed.high = wilson(reviewed.false_positives, agreed)


def wilson(found: int, of: int) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share of which `found` were seen among `of`, which is not 0."""
    share, square = found / of, Z * Z / of
    middle = share + square / 2
    spread = Z * math.sqrt(share * (1 - share) / of + square / (4 * of))
    low, high = (middle - spread) / (1 + square), (middle + spread) / (1 + square)
    # Where nothing or everything was found, rounding would put the share or 0 outside.
    return max(0.0, min(share, low)), min(1.0, max(share, high))


def destination_of(endpoint: str) -> str:
    """Scheme, host and port of an entry's `endpoint`."""
    scheme, mark, rest = endpoint.partition("://")
    return f"{scheme}{mark}{rest.partition('/')[0]}" if mark else "unknown"


def report(path: Path, asked: Filter, labels: Labels) -> ShadowReport:
    """Raises IntegrityViolation for a line that is no entry, OSError for what cannot be read."""
    counting = Counting(asked, labels)
    for entry in _decisions(path):
        counting.take(entry)
    return counting.result()


def _decisions(path: Path) -> Iterator[_Decision]:
    for place in files.discover(path)[0]:
        for found in reader.entries(place.path):
            if _LINE not in found.entry:
                continue
            try:
                entry = _DECODER.decode(found.entry)
            except msgspec.MsgspecError as error:
                what = f"no decision: {error}"
                raise IntegrityViolation(what, file=str(found.file), line=found.line, seq=found.seq) from None
            if entry.kind == "decision":
                yield entry
