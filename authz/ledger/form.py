"""What an entry must be (EVIDENCE section 1), as everybody checks it who reads one.

In: the bytes of a line without its newline, and the place it stands at. Out: its members, or ValueError with
the first rule it breaks. Called by the verifier for every entry. It knows no file and no key.
"""

from __future__ import annotations

import re
from datetime import datetime
from operator import itemgetter
from typing import Any, Final

from authz import canonical

MAX_ENTRY: Final = 16_384  # bytes, without the newline
LOG: Final = re.compile(
    r"([^\s+/\x00-\x1f]{1,255}/){2}[^\s+/\x00-\x1f]{1,255}"
)  # <deployment>/<worker>/<epoch>
CONTINUES: Final = ("previous_log", "previous_size", "previous_root")  # of an `open`: all or none
KINDS: Final = frozenset(
    "open decision outcome heartbeat late_sync recovery gap close policy approval containment key log_open "
    "log_head log_close anchor access erasure prune hold".split()
)
# The mission's schema: never left out of a decision.
DECISION: Final = tuple(
    "decision_id agent_id tool params_hash policy_version decision reason_code trace_id".split()
)

_TIMESTAMP: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_decision = itemgetter(*DECISION)


def read(entry: bytes, log: str, seq: int, previous: str | None) -> dict[str, Any]:
    """The members of the entry that is number `seq` of `log` and follows the one with the hash `previous`
    (lowercase hex; None where that is not known). Raises ValueError.
    """
    if len(entry) > MAX_ENTRY:
        raise ValueError(f"longer than {MAX_ENTRY} bytes")
    members = canonical.parse(entry)
    get = members.get
    if get("log") != log:
        raise ValueError("log: not the name of this log")
    if get("seq") != seq or type(members["seq"]) is not int:
        raise ValueError(f"seq: not {seq}, which is its place")
    _check_link(get("previous_entry_hash"), previous)
    _check_timestamp(get("timestamp"))
    _check_kind(get("kind"), seq)
    for name in ("signer_id", "attestation_signature"):
        if type(get(name)) is not str:
            raise ValueError(f"{name}: missing, or not a string")
    if members["kind"] == "decision":
        _check_decision(members)
    elif seq == 0:
        _check_open(members)
    return members


def _check_link(found: Any, previous: str | None) -> None:
    if previous is None:
        if type(found) is not str or not _HASH.fullmatch(found):
            raise ValueError("previous_entry_hash: not 64 lowercase hex digits")
    elif found != previous:
        raise ValueError("previous_entry_hash: not the hash of the entry before")


def _check_timestamp(found: Any) -> None:
    if type(found) is not str or not _TIMESTAMP.fullmatch(found):
        raise ValueError("timestamp: not RFC 3339 in UTC with six decimals")
    try:
        datetime.fromisoformat(found)
    except ValueError:
        raise ValueError("timestamp: no such time") from None


def _check_kind(found: Any, seq: int) -> None:
    if type(found) is not str or found not in KINDS:
        raise ValueError("kind: none that an entry can have")
    if (found == "open") != (seq == 0):
        raise ValueError("kind: `open` is the first entry of a log, and no other is")


def _check_decision(members: dict[str, Any]) -> None:
    try:
        values = _decision(members)
    except KeyError as error:
        raise ValueError(f"{error.args[0]}: missing from a decision") from None
    if not all(type(value) is str for value in values):
        raise ValueError("a decision: a member of the schema that is not a string")


def _check_open(members: dict[str, Any]) -> None:
    log, size, root = (members.get(name) for name in CONTINUES)
    if log is size is root is None:
        return
    if type(log) is not str or type(size) is not int or size < 0:
        raise ValueError("previous_log, previous_size: not the name and size of the log before")
    if type(root) is not str or not _HASH.fullmatch(root):
        raise ValueError("previous_root: not 64 lowercase hex digits")
