"""Joins decisions with their outcomes, from the entries on disk (EVIDENCE section 6, per request).

In: a path with one or more logs, and a bound in seconds. Out: a Joined: what belongs together, what is
missing on either side, what was forwarded without a recorded allow. Called by `aegis outcomes`. Entries are
streamed and may stand in any order and in any of the logs; what has not found its other half waits in a
temporary SQLite database, which keeps CACHE_KIB in memory and the rest in a file without a name. It believes
what it reads: whether that is true says the verifier.

    outcome with a decision_id       -> the decision of that id, log and seq
    outcome without (Envoy did not hear the answer)  -> a decision without outcome that has its request_id
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from authz.errors import IntegrityViolation
from authz.ledger import files, form, reader
from authz.values import FORWARDED

CACHE_KIB: Final = 16_384  # of what waits for its other half
WINDOW: Final = 16_384  # matched decisions that are remembered to tell an outcome sent twice from a second
EXAMPLES: Final = 20  # listed of each kind

_TABLES: Final = f"""
PRAGMA journal_mode = OFF;
PRAGMA cache_size = -{CACHE_KIB};
CREATE TABLE decision (id TEXT PRIMARY KEY, log TEXT, seq INTEGER, decision TEXT, request TEXT, at TEXT);
CREATE TABLE outcome (id TEXT, log TEXT, seq INTEGER, request TEXT, forwarded INTEGER, at TEXT, own_log TEXT,
    own_seq INTEGER, event TEXT, endpoint TEXT);
CREATE INDEX outcome_id ON outcome (id);
"""


class Example(Struct, frozen=True):
    """One entry that somebody should look at."""

    log: str
    seq: int
    what: str


class Joined(Struct):
    """Counts. `missing` and `pending` are decisions, older and younger than the bound at the newest entry."""

    after_s: float
    decisions: int = 0
    outcomes: int = 0
    in_time: int = 0
    late: int = 0  # joined, but the outcome was recorded after the bound
    by_request_id: int = 0  # of the joined ones
    missing_allowed: int = 0
    missing_denied: int = 0
    pending: int = 0
    duplicates: int = 0  # the same outcome recorded again
    repeated: int = 0  # another outcome of a decision that has one
    elsewhere: int = 0  # outcomes of decisions in logs that are not here
    without_decision: int = 0
    breaches: int = 0  # forwarded without a recorded allow
    lost: dict[str, int] = {}  # outcomes that the workers say they lost, by reason
    breach_examples: list[Example] = []
    missing_examples: list[Example] = []
    without_examples: list[Example] = []


def join(path: Path, after_s: float) -> Joined:
    """Raises IntegrityViolation for a line that is no entry, OSError for what cannot be read."""
    with closing(sqlite3.connect("")) as store:
        joining = Joining(store, after_s)
        for place in files.discover(path)[0]:
            for entry in _entries(place.path):
                joining.take(entry)
        return joining.result()


def _entries(directory: Path) -> Iterator[dict[str, Any]]:
    """The entries of one log, each of the form that an entry has."""
    log = ""
    for found in reader.entries(directory):
        log = log or _text(found.members(), "log")
        try:
            yield form.read(found.entry, log, found.seq, None)
        except ValueError as error:
            what = str(error)
            raise IntegrityViolation(what, file=str(found.file), line=found.line, seq=found.seq) from None


def _text(entry: dict[str, Any], name: str) -> str:
    """A member that should be a string; "" if it is not there, or something else."""
    value = entry.get(name)
    return value if isinstance(value, str) else ""


def _number(entry: dict[str, Any], name: str) -> int:
    value = entry.get(name)
    return value if type(value) is int else -1


class Joining:
    """Takes entries, then gives the `result`. Of decisions and outcomes those are counted that were recorded
    within `interval` (timestamps, both included), outcomes also `after_s` later. An outcome may be of a
    decision in one of `others`, logs that are not taken.
    """

    def __init__(
        self,
        store: sqlite3.Connection,
        after_s: float,
        interval: tuple[str, str] = ("", "~"),
        others: frozenset[str] = frozenset(),
    ) -> None:
        store.executescript(_TABLES)
        self._store, self._others = store, others
        self._joined = Joined(after_s)
        self._after = timedelta(seconds=after_s)
        self._from, self._to = interval
        self._late = self._to if self._to == "~" else _timestamp(_moment(self._to) + self._after)
        self._newest = ""
        self._sizes: dict[str, int] = {}  # of each log, so far
        self._matched: dict[str, str] = {}  # decision id -> event of its outcome, oldest first

    def take(self, entry: dict[str, Any]) -> None:
        """One entry, in the order of its log."""
        at, kind = entry["timestamp"], entry["kind"]
        self._newest = max(self._newest, at)
        self._sizes[entry["log"]] = entry["seq"] + 1
        if kind == "decision":
            self._joined.decisions += self._counts(at)
            self._decision(entry, at)
        elif kind == "outcome":
            self._joined.outcomes += self._counts_late(at)
            self._outcome(entry, at)
        elif kind == "heartbeat" and self._counts_late(at):
            self._lost(entry.get("outcomes_lost"))

    def _counts(self, at: str) -> bool:
        return self._from <= at <= self._to

    def _counts_late(self, at: str) -> bool:
        return self._from <= at <= self._late

    def _lost(self, said: Any) -> None:
        for each in said if isinstance(said, list) else ():
            if isinstance(each, dict):
                reason, lost = _text(each, "reason_code"), self._joined.lost
                lost[reason] = lost.get(reason, 0) + max(0, _number(each, "count"))

    def _decision(self, entry: dict[str, Any], at: str) -> None:
        identity, log, decided = (_text(entry, name) for name in ("decision_id", "log", "decision"))
        row = (identity, log, entry["seq"], decided, _text(entry, "request_id"))
        query = "SELECT rowid, * FROM outcome WHERE id = ? AND log = ? AND seq = ? LIMIT 1"
        waiting = self._store.execute(query, row[:3]).fetchone()
        if waiting:
            self._store.execute("DELETE FROM outcome WHERE rowid = ?", waiting[:1])
            self._match(row, at, waiting[1:])
        else:
            self._store.execute("INSERT OR REPLACE INTO decision VALUES (?, ?, ?, ?, ?, ?)", (*row, at))

    def _outcome(self, entry: dict[str, Any], at: str) -> None:
        names = ("decision_id", "decision_log", "request_id", "endpoint")
        identity, log, request, endpoint = (_text(entry, name) for name in names)
        seq, forwarded = _number(entry, "decision_seq"), entry.get("forwarded") is True
        event = f"{_text(entry, 'started')} {_number(entry, 'duration_us')}"
        row = (identity, log, seq, request, forwarded, at, entry["log"], entry["seq"], event, endpoint)
        if identity in self._matched:
            if self._counts_late(at):
                same = self._matched[identity] == event
                self._joined.duplicates += same
                self._joined.repeated += not same
            return
        found = self._store.execute("SELECT * FROM decision WHERE id = ?", (identity,)).fetchone()
        if found and found[1:3] == (log, seq):
            self._store.execute("DELETE FROM decision WHERE id = ?", (identity,))
            self._match(found, found[5], row)
        else:
            self._store.execute("INSERT INTO outcome VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _match(self, decision: tuple[Any, ...], decided: str, outcome: tuple[Any, ...]) -> None:
        """A decision's row and an outcome's belong together."""
        joined, forwarded, at = self._joined, outcome[4], outcome[5]
        counts = self._counts(decided)
        if _moment(at) - _moment(decided) > self._after:
            joined.late += counts
        else:
            joined.in_time += counts
        if forwarded and decision[3] not in FORWARDED and (counts or self._counts_late(at)):
            self._breach(outcome, f"forwarded, though decision {decision[0]} is {decision[3]}")
        if len(self._matched) >= WINDOW:
            del self._matched[next(iter(self._matched))]
        self._matched[decision[0]] = outcome[8]

    def _breach(self, outcome: tuple[Any, ...], what: str) -> None:
        self._joined.breaches += 1
        _add(self._joined.breach_examples, Example(outcome[6], outcome[7], what))

    def result(self) -> Joined:
        """What is left over finds its place; called once, after the last entry."""
        self._match_by_request()
        for outcome in self._store.execute("SELECT * FROM outcome"):
            self._left_outcome(outcome)
        self._count_missing()
        return self._joined

    def _match_by_request(self) -> None:
        found = self._store.execute(
            "SELECT o.rowid, d.id FROM outcome o JOIN decision d ON o.request = d.request "
            "WHERE o.id = '' AND o.request != '' GROUP BY d.id"
        )
        for place, identity in list(found):
            outcome = self._store.execute("SELECT * FROM outcome WHERE rowid = ?", (place,)).fetchone()
            decision = self._store.execute("SELECT * FROM decision WHERE id = ?", (identity,)).fetchone()
            if outcome is None:  # two decisions of one request: the first has it
                continue
            self._store.execute("DELETE FROM outcome WHERE rowid = ?", (place,))
            self._store.execute("DELETE FROM decision WHERE id = ?", (identity,))
            self._joined.by_request_id += self._counts(decision[5])
            self._match(decision, decision[5], outcome)

    def _left_outcome(self, outcome: tuple[Any, ...]) -> None:
        identity, log, seq, forwarded = outcome[0], outcome[1], outcome[2], outcome[4]
        if not self._counts_late(outcome[5]) or (log not in self._sizes and log in self._others):
            return
        if identity and log not in self._sizes:
            self._joined.elsewhere += 1
        elif identity and 0 <= seq < self._sizes[log]:
            self._joined.repeated += 1
        else:
            self._joined.without_decision += 1
            what = f"{'forwarded' if forwarded else 'not forwarded'}, no decision: {outcome[9] or identity}"
            _add(self._joined.without_examples, Example(outcome[6], outcome[7], what))
            if forwarded:
                self._breach(outcome, what)

    def _count_missing(self) -> None:
        joined = self._joined
        if not joined.decisions:
            return
        before = _timestamp(_moment(self._newest) - self._after)
        left = "SELECT count(*) FROM decision WHERE at >= ? AND at <= ? AND "
        here = (self._from, self._to, before)
        (joined.pending,) = self._store.execute(f"{left} at >= ?", here).fetchone()
        old = "SELECT decision, count(*) FROM decision WHERE at >= ? AND at <= ? AND at < ? GROUP BY decision"
        for decision, count in self._store.execute(old, here):
            forwarded = decision in FORWARDED
            joined.missing_allowed += forwarded * count
            joined.missing_denied += (not forwarded) * count
        rows = self._store.execute(
            "SELECT log, seq, decision, id FROM decision WHERE at >= ? AND at <= ? AND at < ? "
            "ORDER BY at LIMIT ?",
            (*here, EXAMPLES),
        )
        joined.missing_examples.extend(Example(log, seq, f"{what} {id_}") for log, seq, what, id_ in rows)


def _moment(timestamp: str) -> datetime:
    return datetime.fromisoformat(timestamp)


def _timestamp(moment: datetime) -> str:
    """As in entries."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _add(examples: list[Example], example: Example) -> None:
    if len(examples) < EXAMPLES:
        examples.append(example)


def describe(joined: Joined) -> Iterator[str]:
    """For people, line by line."""
    both = joined.in_time + joined.late
    yield f"decisions  {joined.decisions:,}"
    yield f"  {both:,} with outcome: {joined.in_time:,} within {joined.after_s:g} s, {joined.late:,} later"
    if joined.by_request_id:
        yield f"  {joined.by_request_id:,} of them joined by request_id: Envoy did not hear the answer"
    allowed, denied = joined.missing_allowed, joined.missing_denied
    yield f"  {allowed + denied:,} without outcome: {allowed:,} allowed, {denied:,} denied"
    yield f"  {joined.pending:,} younger than {joined.after_s:g} s, whose outcome may still come"
    yield f"outcomes   {joined.outcomes:,}"
    yield f"  {joined.without_decision:,} without a decision, {joined.elsewhere:,} of decisions in other logs"
    yield f"  {joined.repeated:,} of decisions that have one already, {joined.duplicates:,} recorded twice"
    for reason, count in sorted(joined.lost.items()):
        yield f"  {count:,} lost by the worker, as its heartbeats say: {reason}"
    yield f"forwarded without a recorded allow  {joined.breaches:,}"
    for title, examples in (
        ("forwarded without a recorded allow", joined.breach_examples),
        ("without outcome", joined.missing_examples),
        ("without decision", joined.without_examples),
    ):
        if examples:
            yield ""
            yield title
            yield from (f"  {each.log}@{each.seq}  {each.what}" for each in examples)
