"""Ruling -> Record: everything that led here, as the members of a `decision` entry (EVIDENCE section 1).

The ledger adds `kind`, `log`, `seq`, `previous_entry_hash`, `timestamp`, `signer_id` and the attestation.
Members that do not apply are left out; those of the mission's schema never are. No credential and no
payload byte may enter: parameters go in as a hash of their redacted form.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final
from urllib.parse import parse_qs

import orjson
import rfc8785

from authz import canonical
from authz.controls.redaction import PLAIN, Redaction
from authz.values import MISSING, NO_CLAIMS, SHADOW, Claims, Malformed, Mcp, Request, Ruling, Subject

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_MAX_POINTERS: Final = 32
# Claims that are members of an entry by themselves; `context` then says that they were only claimed.
CLAIMED_IDS: Final = ("action_id", "step_id", "parent_decision_id")
_MAX_TEXT: Final = 256  # bytes, as JSON, of a text that the agent or a policy chose
_MAX_NAME: Final = 2048  # bytes, as JSON, of a subject's names: what a SPIFFE id may have
_MAX_SCORE: Final = 2048  # bytes, as JSON
_MAX_REDACTED: Final = 2048  # bytes, as JSON, of all pointers together
_ESCAPED: Final = 6  # bytes, at most, that JSON takes for a character
NO_PARAMETERS: Final = hashlib.sha256(b"{}").hexdigest()


def decision_members(
    decision_id: str,
    request: Request | Malformed,
    subject: Subject,
    ruling: Ruling,
    reply_after: str,
    *,
    source: str = "",
    redaction: Redaction = PLAIN,
) -> dict[str, Any]:
    """The members of one decision. `span_id` is the last half of `decision_id`, so that a span and its
    record name each other. `source` is the tag of the client's address (`identity/sources.py`).
    """
    verdict = ruling.verdict
    members: dict[str, Any] = {
        "decision_id": decision_id,
        "agent_id": short(subject.agent_id, _MAX_NAME),
        "identity_assurance": subject.assurance,
        "policy_version": verdict.policy_version,
        "policy_digest": verdict.policy_digest,
        "decision": ruling.decision,
        "mode": ruling.mode,
        "reason_code": ruling.reason_code,
        "rule": short(verdict.rule),
        "engine": verdict.engine,
        "cache": verdict.cache,
        "evaluation_us": verdict.evaluation_us,
        "reply_after": "synced" if ruling.synced else reply_after,
        "trace_id": request.trace_id,
        "span_id": decision_id[-17:].replace("-", ""),
        "endpoint": endpoint(request, redaction),
    }
    if ruling.mode is SHADOW:
        members["policy_decision"] = verdict.decision
    if request.request_id:
        members["request_id"] = short(request.request_id)
    if request.method:
        members["method"] = request.method
    if verdict.rationale:
        members["rationale"] = verdict.rationale
    if verdict.evidence:
        members["evidence"] = verdict.evidence
    if verdict.score:
        members["score"] = _score(verdict.score)
    if verdict.obligations:
        members["obligations"] = verdict.obligations
    if subject.chain:
        members["parent_agent_id"] = short(subject.chain[0], _MAX_NAME)
        members["agent_chain"] = subject.chain
    if subject.key:
        members["identity_key"] = short(subject.key)
    if subject.principal:
        members["identity_principal"] = subject.principal
    if source:
        members["identity_source"] = source
    if subject.session_id:
        members["session_id"] = short(subject.session_id, _MAX_NAME)
    if isinstance(request, Request) and request.claims is not NO_CLAIMS:
        _add_claims(members, request.claims)
    if request.mcp is not None:
        _add_mcp(members, request.mcp, redaction)
    _add_action(members, request, verdict.classification, redaction)
    return members


def _add_mcp(members: dict[str, Any], message: Mcp, redaction: Redaction) -> None:
    """The protocol, and what of its message names itself."""
    members["protocol"] = "mcp"
    named = {
        "message": message.message,
        "method": short(message.method, 64),
        "name": short(redaction.path(message.name)),
    }
    if any(named.values()):
        members["mcp"] = {name: text for name, text in named.items() if text}


def _add_claims(members: dict[str, Any], claims: Claims) -> None:
    """What the caller says about itself, marked as that: ids beside the others, the rest in `context`."""
    ids = [name for name in CLAIMED_IDS if name in claims.values]
    members |= {name: short(claims.values[name]) for name in ids}
    context: dict[str, Any] = {
        "claimed": {name: text for name, text in claims.values.items() if name not in ids},
        "claimed_ids": ids,
        "malformed": claims.malformed,
    }
    members["context"] = {name: said for name, said in context.items() if said}


def _add_action(
    members: dict[str, Any], request: Request | Malformed, called: dict[str, str], redaction: Redaction
) -> None:
    """tool, action, category, sensitivity and the parameters' hash; `called` is policy's own naming."""
    if isinstance(request, Malformed):
        members["tool"], members["params_hash"] = "unknown", NO_PARAMETERS
        return
    members["action"] = request.action.kind
    members["tool"] = short(
        called.get("tool") or request.action.tool or _mcp_tool(request) or request.action.kind
    )
    for name in ("category", "sensitivity"):
        if name in called:
            members[name] = short(called[name])
    members["params_hash"], masked = params_hash(request, redaction)
    if masked:
        members["redacted"] = _pointers(masked)


def _mcp_tool(request: Request) -> str:
    """What the server calls the tool, where policy has no name for it."""
    return request.mcp.name if request.mcp and request.mcp.method == "tools/call" else ""


def _pointers(masked: list[str]) -> list[str]:
    """The first of `masked`, as far as there is room, and how many more there are."""
    named: list[str] = []
    room = _MAX_REDACTED
    for pointer in map(short, masked[:_MAX_POINTERS]):
        room -= len(canonical.encode(pointer)) + 1
        if room < 0:
            break
        named.append(pointer)
    left = len(masked) - len(named)
    return [*named, f"and {left} more"] if left else named


def _score(score: dict[str, str]) -> dict[str, str] | str:
    encoded = canonical.encode(score)
    return score if len(encoded) <= _MAX_SCORE else _digest(encoded)


def short(text: str, most: int = _MAX_TEXT) -> str:
    """`text`, or its digest if it could fill an entry: if it has over `most` bytes as JSON."""
    if len(text) * _ESCAPED <= most or len(canonical.encode(text)) <= most + 2:
        return text
    return _digest(text.encode())


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def endpoint(request: Request | Malformed, redaction: Redaction = PLAIN) -> str:
    """Scheme, host, port where it is not the scheme's own, and the redacted path; never the query."""
    if not request.host:
        return "unknown"
    port = "" if request.port in (0, _DEFAULT_PORTS.get(request.scheme)) else f":{request.port}"
    return f"{request.scheme or 'unknown'}://{request.host}{port}{redaction.path(request.path)}"


def params_hash(request: Request, redaction: Redaction = PLAIN) -> tuple[str, list[str]]:
    """Lowercase hex SHA-256 of the RFC 8785 form of {"body", "query"} as far as there are any, redacted
    first; a body that is neither JSON nor a form counts as its own SHA-256. Of an MCP message it is the form
    of its arguments. With it, what was redacted.
    """
    if not request.query and not request.body:
        return NO_PARAMETERS, []
    redacted, masked = redaction.parameters(parameters(request))
    return hash_of(redacted), masked


def hash_of(redacted: Any) -> str:
    """Lowercase hex SHA-256 of the RFC 8785 form of redacted parameters."""
    plain = _plain(redacted)
    encoded = orjson.dumps(redacted, option=orjson.OPT_SORT_KEYS) if plain else rfc8785.dumps(redacted)
    return hashlib.sha256(encoded).hexdigest()


def parameters(request: Request) -> Any:
    """What `params_hash` is the hash of, before it is redacted."""
    found: dict[str, Any] = {}
    if request.query:
        found["query"] = parse_qs(request.query, keep_blank_values=True)
    if request.action.kind == "mcp" and not request.query:
        found = {} if request.action.arguments is MISSING else request.action.arguments
    elif request.body:
        arguments = request.action.arguments
        found["body"] = hashlib.sha256(request.body).hexdigest() if arguments is MISSING else arguments
    return found


def _plain(value: Any) -> bool:
    """Whether sorted orjson is RFC 8785 for `value`: no floats, and member names in ASCII."""
    if isinstance(value, dict):
        return all(name.isascii() and _plain(item) for name, item in value.items())
    if isinstance(value, list):
        return all(map(_plain, value))
    return not isinstance(value, float)
