"""Says of a run of entries at once that each has its form: a sure yes, or nothing.

    lines --msgspec--> objects with the members of everyday entries --msgspec--> the same bytes: canonical
    places, links, times, kinds: compared as whole lists

`form.read` is the judge; this is the same judgement for what every ledger consists of (decisions, outcomes,
heartbeats in plain ASCII without escapes), at a third of its cost. Whatever is unusual is not answered here,
and then each entry is read by itself. Called by the walk through a segment; a property test holds it to
`form.read`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from operator import sub
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from authz.ledger import form
from authz.ledger.members import HASH, is_time

KINDS: Final = frozenset(("decision", "outcome", "heartbeat", "late_sync"))  # with no rules of their own

_BOUND: Final = 2**53 - 1
_INTEGER: Final = Annotated[int, msgspec.Meta(ge=-_BOUND, le=_BOUND)]
_FLAT: Final = dict[str, str | _INTEGER | bool]  # type: ignore[valid-type]
_DEEP: Final = dict[str, str | _INTEGER | bool | list[str] | _FLAT]  # type: ignore[valid-type]
_TEXTS: Final = (
    "action action_id action_token_id agent_id approval_id approver cache category cluster decision "
    "decision_entry_hash decision_id decision_log details endpoint engine identity_assurance identity_key "
    "identity_principal identity_source method mode override_reason params_hash parent_agent_id "
    "parent_decision_id policy_decision policy_digest policy_version protocol reason_code reply_after "
    "request_id route rule score sensitivity session_id span_id started state step_id tool trace_id upstream"
).split()
_NUMBERS: Final = (
    "answers attempts clock_step_us decision_seq duration_us evaluation_us first_seq last_seq request_bytes "
    "request_header_bytes response_bytes response_header_bytes size status upstream_first_us "
    "upstream_last_us waited_us"
).split()
_REQUIRED: Final = (
    "attestation_signature kind log previous_entry_hash signer_id timestamp".split()
)  # and `seq`
_TYPES: Final[dict[str, Any]] = {
    **dict.fromkeys(_TEXTS, str),
    **dict.fromkeys(_NUMBERS, _INTEGER),
    **dict.fromkeys(("_sd", "flags", "redacted"), list[str]),
    **dict.fromkeys(("agent_chain", "evidence", "rationale"), list[str] | str),
    **dict.fromkeys(("context", "limits", "mcp", "obligations", "correlation"), _DEEP | str),
    "forwarded": bool,
}
_TIMES: Final = re.compile(
    r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z)*"
)
_LINK: Final = 64  # characters
_TIME: Final = 27


def _entry() -> Any:
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        (name, str if name != "seq" else _INTEGER) for name in (*_REQUIRED, "seq")
    ]
    fields += [(name, kind | UnsetType, UNSET) for name, kind in _TYPES.items()]
    # Members stand in the order of their names, and are encoded in the order of the fields.
    return msgspec.defstruct("Entry", sorted(fields), kw_only=True, forbid_unknown_fields=True, gc=False)


_DECODER: Final = msgspec.json.Decoder(_entry())
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")  # objects within sorted, fields as they stand


def leaves_of(lines: bytes) -> list[bytes] | None:
    """The leaf hash of each of `lines`, which have their newlines; None if one is longer than an entry."""
    ends, at = [], lines.find(b"\n")
    while at >= 0:
        ends.append(at)
        at = lines.find(b"\n", at + 1)
    starts = [0, *(end + 1 for end in ends[:-1])]
    if max(map(sub, ends, starts)) > form.MAX_ENTRY:
        return None
    view, leaf, leaves = memoryview(lines), sha256(b"\x00").copy, []
    for start, end in zip(starts, ends, strict=True):
        hashed = leaf()  # no line is copied to put the zero byte of RFC 6962 before it
        hashed.update(view[start:end])
        leaves.append(hashed.digest())
    return leaves


def read(
    lines: bytes, log: str, seq: int, previous: str | None, leaves: Sequence[bytes]
) -> Sequence[Any] | None:
    """The entries in `lines` if each is one as `form.read` would have it, at its place in `log` from number
    `seq` on: objects with the members as attributes, UNSET where there is none. None if that is not sure.

    Each of `lines` has its newline; `leaves` are their leaf hashes; `previous` is the hash (hex) before them,
    None where it is not known.
    """
    if b"\\" in lines or not lines.isascii():
        return None
    try:
        entries: list[Any] = _DECODER.decode_lines(lines)
        if _ENCODER.encode_lines(entries) != lines:
            return None
    except (msgspec.MsgspecError, RecursionError):
        return None
    fits = _linked(entries, previous, leaves) and _placed(entries, log, seq) and _timed(entries)
    return entries if fits and not any(map(_incomplete, entries)) else None


def _linked(entries: list[Any], previous: str | None, leaves: Sequence[bytes]) -> bool:
    links = [entry.previous_entry_hash for entry in entries]
    if set(map(len, links)) != {_LINK} or len(links) != len(leaves):
        return False
    first = links[0] == previous if previous is not None else HASH.fullmatch(links[0]) is not None
    return first and "".join(links[1:]) == b"".join(leaves[:-1]).hex()


def _placed(entries: list[Any], log: str, seq: int) -> bool:
    return (
        seq > 0  # the first entry of a log is an `open`
        and [entry.seq for entry in entries] == list(range(seq, seq + len(entries)))
        and {entry.log for entry in entries} == {log}
        and {entry.kind for entry in entries} <= KINDS & form.kinds(log)
    )


def _timed(entries: list[Any]) -> bool:
    times = [entry.timestamp for entry in entries]
    return (
        set(map(len, times)) == {_TIME}
        and _TIMES.fullmatch("".join(times)) is not None
        and all(is_time(f"{day}T00:00:00.000000Z") for day in {time[:10] for time in times})
    )


def _incomplete(entry: Any) -> bool:
    """Whether a member of the mission's schema is missing from a decision (`form.DECISION`)."""
    return entry.kind == "decision" and (
        entry.decision_id is UNSET
        or entry.agent_id is UNSET
        or entry.tool is UNSET
        or entry.params_hash is UNSET
        or entry.policy_version is UNSET
        or entry.decision is UNSET
        or entry.reason_code is UNSET
        or entry.trace_id is UNSET
    )
