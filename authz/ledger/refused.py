"""Requests that policy did not permit because its data does not have them, counted by what they wanted.

In: a path with one or more logs, an interval. Out: Refused, the most frequent first, and what was left out.
Called by `aegis policy propose`. Entries are believed: whether they are true says the verifier.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from authz.ledger import files, reader
from authz.values import Assurance

MOST: Final = 5_000  # kinds of requests told apart; what follows is left out
REASONS: Final = frozenset("agent_unknown egress_violation tool_unknown tool_not_permitted".split())
_KIND: Final = b'"kind":"decision"'  # entries are canonical: it is written in no other way
_DECISIONS: Final = ("deny", "would_block")
_PORTS: Final = {"http": 80, "https": 443}
_SURE: Final = (str(Assurance.JWT), str(Assurance.MTLS))


class Refused(Struct, frozen=True, order=True):
    """One kind of request. `tool`: what policy called it; `path` as it was recorded, redacted."""

    agent: str
    method: str
    host: str
    port: int
    path: str
    tool: str
    reason: str


class Found(Struct):
    """`requests` by how often each came; `left_out`: how many, by why."""

    requests: Counter[Refused]
    left_out: Counter[str]


def refused(path: Path, start: str = "", end: str = "") -> Found:
    """From `start` on and before `end`, timestamps as in entries. Raises IntegrityViolation, OSError."""
    found = Found(Counter(), Counter())
    for place in files.discover(path)[0]:
        for entry in reader.entries(place.path):
            if _KIND not in entry.entry:
                continue
            members = entry.members()
            at = str(members.get("timestamp", ""))
            if members.get("kind") == "decision" and at >= start and (not end or at < end):
                _count(members, found)
    return found


def _count(members: dict[str, Any], found: Found) -> None:
    reason = str(members.get("reason_code"))
    if members.get("decision") not in _DECISIONS or reason not in REASONS:
        return
    if why := _unusable(members):
        found.left_out[why] += 1
        return
    url = urlsplit(str(members.get("endpoint", "")))
    try:
        port = url.port or _PORTS.get(url.scheme, 0)
    except ValueError:
        port = 0
    if not url.hostname or not port:
        found.left_out["no address"] += 1
        return
    request = Refused(
        agent=str(members.get("agent_id", "")),
        method=str(members.get("method", "")),
        host=url.hostname,
        port=port,
        path=url.path,
        tool=str(members.get("tool", "")),
        reason=reason,
    )
    if request not in found.requests and len(found.requests) >= MOST:
        found.left_out["one of too many kinds"] += 1
    else:
        found.requests[request] += 1


def _unusable(members: dict[str, Any]) -> str:
    if members.get("identity_assurance") not in _SURE:
        return "nobody knows surely who asked"
    if members.get("action") != "http":
        return "a tunnel or an MCP message"
    return ""
