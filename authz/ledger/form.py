"""What an entry must be (EVIDENCE section 1), as everybody checks it who reads one.

In: the bytes of a line without its newline, and the place it stands at. Out: its members, or ValueError with
the first rule it breaks. Called by the verifier for every entry. It knows no file and no key.
"""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

from authz import canonical
from authz.ledger import control
from authz.ledger.members import HASH, is_time

MAX_ENTRY: Final = 16_384  # bytes, without the newline
CONTINUES: Final = ("previous_log", "previous_size", "previous_root")  # of an `open`: all or none
_EVERY_LOG: Final = frozenset("open heartbeat late_sync recovery gap close".split())
# `key` also in a worker's log, where the old key hands over to the new one.
_WORKERS: Final = _EVERY_LOG | {"decision", "outcome", "key"}
_CONTROLS: Final = _EVERY_LOG | control.FORMS.keys()
# The mission's schema: never left out of a decision.
DECISION: Final = tuple(
    "decision_id agent_id tool params_hash policy_version decision reason_code trace_id".split()
)

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
    if not is_time(get("timestamp")):
        raise ValueError("timestamp: not RFC 3339 in UTC with six decimals")
    kind = get("kind")
    _check_kind(kind, log, seq)
    for name in ("signer_id", "attestation_signature"):
        if type(get(name)) is not str:
            raise ValueError(f"{name}: missing, or not a string")
    if kind == "decision":
        _check_decision(members)
    elif seq == 0:
        _check_open(members)
    elif kind in control.FORMS:
        control.check_entry(members)
    return members


def _check_link(found: Any, previous: str | None) -> None:
    if previous is None:
        if type(found) is not str or not HASH.fullmatch(found):
            raise ValueError("previous_entry_hash: not 64 lowercase hex digits")
    elif found != previous:
        raise ValueError("previous_entry_hash: not the hash of the entry before")


@lru_cache(maxsize=64)
def kinds(log: str) -> frozenset[str]:
    """What may stand in `log`."""
    return _CONTROLS if log.split("/")[1:2] == [control.WORKER] else _WORKERS


def _check_kind(found: Any, log: str, seq: int) -> None:
    if type(found) is not str or found not in kinds(log):
        raise ValueError("kind: none that an entry of this log can have")
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
    if type(root) is not str or not HASH.fullmatch(root):
        raise ValueError("previous_root: not 64 lowercase hex digits")
