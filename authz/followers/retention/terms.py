"""Until when a segment stays: until its last entry may go, by the classes of the settings and by obligation.

In: entries. Out: a moment, or the hold that stops it. Called by retention; it reads a segment once and keeps
what it found beside the state, since reading them all each hour would read the whole ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from authz.config_retention import Retention

RETENTION = "retention_days"


class Term(Struct, frozen=True):
    """`until`: when the last of the entries may go (RFC 3339 in UTC); `by`: the class that says so."""

    until: str
    by: str


def days(entry: Mapping[str, Any], settings: Retention) -> tuple[int, str]:
    """How long an entry stays, and the name of the class, or `obligation`."""
    by = entry.get("sensitivity")
    if not isinstance(by, str) or by not in settings.classes:
        by = "default"
    stay = settings.classes.get(by, settings.default_days)
    obligations = entry.get("obligations")
    if isinstance(obligations, str):  # its digest: nobody knows what it demands
        return max(stay, settings.most_days), "default"
    demanded = obligations.get(RETENTION) if isinstance(obligations, dict) else None
    if type(demanded) is int and demanded > stay:
        return demanded, "obligation"
    return stay, by


def term(entries: Iterable[Mapping[str, Any]], settings: Retention) -> Term:
    """Of a segment with at least one entry."""
    found = Term("", "default")
    for entry in entries:
        stay, by = days(entry, settings)
        until = _later(str(entry["timestamp"]), stay)
        if until > found.until:
            found = Term(until, by)
    return found


def held(entries: Iterable[Mapping[str, Any]], covering: Callable[[Mapping[str, Any]], str]) -> str:
    """The name of a hold that covers one of the entries, "" for none."""
    return next((name for entry in entries if (name := covering(entry))), "")


def _later(timestamp: str, stay: int) -> str:
    then = datetime.fromisoformat(timestamp) + timedelta(days=stay)
    return then.isoformat(timespec="microseconds").replace("+00:00", "Z")
