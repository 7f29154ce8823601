"""Which agents a ledger's decisions name, by what they were known, and whose identity several seem to use.

In: a path with one or more logs, and a window in seconds. Out: Seen by agent. Called by `aegis agents`.
Entries are streamed and may stand in any order and any of the logs. It believes what it reads: whether that
is true says the verifier.

    one identity, several sources, certificates, keys    within the window: lent, stolen, or several replicas
    one certificate, one source, several agents          within the window: agents that share a key or a host

A kid is the issuer's key, which signs the tokens of many agents: that alone says nothing and is not flagged.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from authz.errors import IntegrityViolation
from authz.ledger import files, form, reader

MAX_AGENTS: Final = 10_000  # names told apart; what follows is counted as one
MAX_VALUES: Final = 256  # sources, certificates, keys of one agent (agents of one source) that are told apart
OTHERS: Final = "(others)"
UNKNOWN: Final = "unknown"
_KIND: Final = b'"kind":"decision"'  # entries are canonical: it is written in no other way
# member of a decision -> what is said when one agent has several of it, and when several agents have one
_EVIDENCE: Final = {
    "identity_source": ("one identity, several sources", "one source, several agents"),
    "identity_principal": ("one identity, several certificates", "one certificate, several agents"),
    "identity_key": ("one identity, several keys", ""),
}


class Flag(Struct, frozen=True):
    """Several of one thing within the window. `values` are the two that were seen; `at` is when."""

    what: str
    values: tuple[str, ...]
    at: str


class Seen(Struct):
    """What decisions say of one agent."""

    first: str = ""
    last: str = ""
    decisions: dict[str, int] = {}
    reasons: dict[str, int] = {}  # of what was not allowed
    assurances: dict[str, int] = {}
    tools: dict[str, int] = {}  # of what was allowed
    keys: list[str] = []
    principals: list[str] = []
    sources: list[str] = []
    flags: list[Flag] = []


class Uses:
    """When each of several values was used, in slots as long as the window."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self.slots: dict[str, dict[int, tuple[float, float]]] = {}

    def add(self, value: str, at: float) -> str:
        """Note `value`; another one that was used within the window of `at`, "" without one."""
        if value not in self.slots and len(self.slots) >= MAX_VALUES:
            value = OTHERS
        slot = int(at // self._window_s)
        slots = self.slots.setdefault(value, {})
        first, last = slots.get(slot, (at, at))
        slots[slot] = (min(first, at), max(last, at))
        return next((other for other in self.slots if other != value and self._near(other, slot, at)), "")

    def _near(self, other: str, slot: int, at: float) -> bool:
        slots = self.slots[other]
        for each in (slot - 1, slot, slot + 1):
            if each in slots and max(slots[each][0] - at, at - slots[each][1], 0.0) <= self._window_s:
                return True
        return False


class Agents:
    """Takes decisions in any order."""

    def __init__(self, window_s: float) -> None:
        self.seen: dict[str, Seen] = {}
        self._window_s = window_s
        self._of_agent: dict[tuple[str, str], Uses] = {}
        self._by_value: dict[tuple[str, str], Uses] = {}

    def take(self, entry: dict[str, Any]) -> None:
        """One decision, whose timestamp has its form."""
        name, at = _text(entry, "agent_id"), _text(entry, "timestamp")
        if name not in self.seen and len(self.seen) >= MAX_AGENTS:
            name = OTHERS
        seen = self.seen.setdefault(name, Seen())
        seen.first, seen.last = min(seen.first or at, at), max(seen.last, at)
        _count(seen.decisions, _text(entry, "decision"))
        allowed = entry.get("decision") == "allow"
        _count(seen.tools if allowed else seen.reasons, _text(entry, "tool" if allowed else "reason_code"))
        _count(seen.assurances, _text(entry, "identity_assurance"))
        if name not in (UNKNOWN, OTHERS):
            self._evidence(name, seen, entry, at)

    def _evidence(self, name: str, seen: Seen, entry: dict[str, Any], at: str) -> None:
        when = datetime.fromisoformat(at).timestamp()
        for member, (several, shared) in _EVIDENCE.items():
            value = _text(entry, member)
            if not value:
                continue
            other = _uses(self._of_agent, (member, name), self._window_s).add(value, when)
            if other:
                _flag(seen, Flag(several, (other, value), at))
            if shared:
                self._shared(shared, (member, value), name, at)

    def _shared(self, what: str, key: tuple[str, str], name: str, at: str) -> None:
        if key not in self._by_value and len(self._by_value) >= MAX_AGENTS:
            return
        when = datetime.fromisoformat(at).timestamp()
        other = _uses(self._by_value, key, self._window_s).add(name, when)
        for agent, with_whom in ((name, other), (other, name)):
            if other and agent in self.seen:
                _flag(self.seen[agent], Flag(what, (key[1], with_whom), at))

    def result(self) -> dict[str, Seen]:
        """By name, in order."""
        for (member, name), uses in self._of_agent.items():
            values = sorted(uses.slots)
            seen = self.seen[name]
            if member == "identity_source":
                seen.sources = values
            elif member == "identity_key":
                seen.keys = values
            else:
                seen.principals = values
        return dict(sorted(self.seen.items()))


def agents(path: Path, window_s: float) -> dict[str, Seen]:
    """Raises IntegrityViolation for a line that is no entry, OSError for what cannot be read."""
    found = Agents(window_s)
    for entry in _decisions(path):
        found.take(entry)
    return found.result()


def _decisions(path: Path) -> Iterator[dict[str, Any]]:
    """The decisions, each of the form that an entry has."""
    for place in files.discover(path)[0]:
        log = ""
        for found in reader.entries(place.path):
            if _KIND not in found.entry:
                continue
            log = log or _text(found.members(), "log")
            try:
                members = form.read(found.entry, log, found.seq, None)
            except ValueError as error:
                what = str(error)
                raise IntegrityViolation(what, file=str(found.file), line=found.line, seq=found.seq) from None
            if members["kind"] == "decision":
                yield members


def _uses(of: dict[tuple[str, str], Uses], key: tuple[str, str], window_s: float) -> Uses:
    if key not in of:
        of[key] = Uses(window_s)
    return of[key]


def _flag(seen: Seen, flag: Flag) -> None:
    """The first of its kind: one is enough to look at."""
    if all(other.what != flag.what for other in seen.flags):
        seen.flags.append(flag)


def _count(counts: dict[str, int], name: str) -> None:
    if name not in counts and len(counts) >= MAX_VALUES:
        name = OTHERS
    counts[name] = counts.get(name, 0) + 1


def _text(entry: dict[str, Any], name: str) -> str:
    """A member that should be a string; "" if it is not there, or something else."""
    value = entry.get(name)
    return value if isinstance(value, str) else ""
