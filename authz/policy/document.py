"""The input document that policies read: opa-envoy-plugin's, and ours beside it.

In: a Request, its Subject and the time. Out: single fields, built only when asked for (`facts.py`). A field
the request does not have is MISSING and is left out; what could be read in two ways is Denied.

    attributes parsed_path parsed_query parsed_body truncated_body version      as opa-envoy-plugin has them
    agent {id chain assurance claims}    action {kind tool method resource arguments body}
    destination {host port scheme sni}   session {id identified labels}
    mcp {message method name version fault}     an MCP message, or why it is none (`protocols/mcp.py`)
    context {claimed malformed ...}      what the caller says about itself, by name (`protocols/claims.py`)
    now {weekday hour minute date}       UTC: a clock that can be cached and replayed

gRPC and multipart bodies are not parsed: `parsed_body` is null for them, as it is without a body. So
`action.body` says which it is: `none`, `parsed` (then `action.arguments` is there) or `opaque`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote, unquote_plus

import orjson

from authz.errors import Denied
from authz.values import CLAIMS, MISSING, Mcp, Reason, Request, Subject

Read = Callable[[Request, Subject, datetime], Any]

WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_JSON: Final = "application/json"
_GRPC: Final = "application/grpc"
_FORM: Final = "application/x-www-form-urlencoded"
_MULTIPART: Final = "multipart/form-data"
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)


def parsed_path(request: Request) -> list[str]:
    """Segments of the path without leading slashes, percent-decoded once before it is split."""
    path = request.path.partition("?")[0]
    if "%" in path:
        if _BROKEN_ESCAPE.search(path):
            raise Denied(Reason.MALFORMED_PATH, "path: invalid percent-encoding")
        path = unquote(path, errors="replace")
    return path.lstrip("/").split("/")


def parsed_query(request: Request) -> dict[str, list[str]]:
    """Every name with the list of its values, in order."""
    return _pairs(request.query, Reason.MALFORMED_QUERY, "query")


def parsed_body(request: Request) -> Any:
    """The body as JSON or as a form's lists of values; null where there is none or it is another type."""
    if not request.body or truncated_body(request):
        return None
    if request.action.kind == "mcp":  # the whole message, which was read exactly before
        return orjson.loads(request.body)
    arguments = request.action.arguments
    # Substrings, in this order and case-sensitively: what opa-envoy-plugin does. A body that only it would
    # read as JSON was not checked for duplicate names, so nobody here can say what it means.
    kind = request.headers.get("content-type", "")
    if _JSON in kind:
        if arguments is MISSING:
            raise Denied(Reason.MALFORMED_BODY, "content-type: JSON to some readers, not to others")
        return arguments
    if _GRPC in kind:
        return None
    if _FORM in kind:
        return _form(request.body)
    if _MULTIPART in kind:
        return None
    return None if arguments is MISSING else arguments


def body_form(request: Request) -> str:
    """Whether there is a body, and whether it was read: `none`, `parsed` or `opaque`.

    A body that is announced and was not passed on is opaque, too, and so is JSON under another type or none:
    rules that forbid something see what is in it, but nothing is permitted by what its reader may not see.
    """
    if request.action.arguments is not MISSING:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        return "parsed" if kind in (_JSON, _FORM) or kind.endswith("+json") else "opaque"
    announced = request.headers.get("content-length", "0").strip("0")
    return "opaque" if request.body or request.truncated_body or announced else "none"


def truncated_body(request: Request) -> bool:
    """Whether Envoy passed on only a part, or content-length announces more bytes than there are."""
    if request.truncated_body or request.headers.get("x-envoy-auth-partial-body") == "true":
        return True
    length = request.headers.get("content-length")
    if not length or not request.body:
        return False
    kind = request.headers.get("content-type", "")
    if _JSON not in kind and (_GRPC in kind or (_FORM not in kind and _MULTIPART not in kind)):
        return False
    if not _INTEGER.fullmatch(length) or abs(int(length)) >= 1 << 63:
        raise Denied(Reason.MALFORMED_HEADERS, "content-length: not an integer")
    return int(length) > len(request.body)


def _form(body: bytes) -> dict[str, list[str]]:
    return _pairs(body.decode("utf-8", errors="replace"), Reason.MALFORMED_BODY, "form body")


def _pairs(text: str, reason: Reason, what: str) -> dict[str, list[str]]:
    pairs: dict[str, list[str]] = {}
    if not text:
        return pairs
    if ";" in text:
        raise Denied(reason, f"{what}: a semicolon separates for some readers and not for others")
    escaped = "%" in text
    if escaped and _BROKEN_ESCAPE.search(text):
        raise Denied(reason, f"{what}: invalid percent-encoding")
    encoded = escaped or "+" in text
    for pair in text.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            if encoded:
                name, value = unquote_plus(name), unquote_plus(value)
            pairs.setdefault(name, []).append(value)
    return pairs


def _utc(now: datetime) -> datetime:
    return now if now.tzinfo is UTC else now.astimezone(UTC)


def _mcp(read: Callable[[Mcp], Any]) -> Read:
    """A member of the MCP message; MISSING where there is no message, or the message has none."""
    return lambda request, subject, now: (read(request.mcp) or MISSING) if request.mcp else MISSING


def _claim(name: str) -> Read:
    return lambda request, subject, now: request.claims.values.get(name, MISSING)


# Every field below `attributes` is read by its own path; see `facts.py`.
FIELDS: Final[dict[tuple[str, ...], Read]] = {
    ("attributes",): lambda r, s, now: r.attributes.at(()),
    ("parsed_path",): lambda r, s, now: parsed_path(r),
    ("parsed_query",): lambda r, s, now: parsed_query(r),
    ("parsed_body",): lambda r, s, now: parsed_body(r),
    ("truncated_body",): lambda r, s, now: truncated_body(r),
    ("version", "ext_authz"): lambda r, s, now: "v3",
    ("version", "encoding"): lambda r, s, now: "protojson",
    ("agent", "id"): lambda r, s, now: s.agent_id,
    ("agent", "chain"): lambda r, s, now: s.chain,
    ("agent", "assurance"): lambda r, s, now: s.assurance,
    ("agent", "claims"): lambda r, s, now: s.claims,
    ("action", "kind"): lambda r, s, now: r.action.kind,
    ("action", "tool"): lambda r, s, now: r.action.tool,
    ("action", "method"): lambda r, s, now: r.action.method,
    ("action", "resource"): lambda r, s, now: r.action.resource,
    ("action", "arguments"): lambda r, s, now: r.action.arguments,
    ("action", "body"): lambda r, s, now: body_form(r),
    ("mcp", "message"): _mcp(lambda message: message.message),
    ("mcp", "method"): _mcp(lambda message: message.method),
    ("mcp", "name"): _mcp(lambda message: message.name),
    ("mcp", "version"): _mcp(lambda message: message.version),
    ("mcp", "fault"): _mcp(lambda message: message.fault),
    ("destination", "host"): lambda r, s, now: r.host,
    ("destination", "port"): lambda r, s, now: r.port,
    ("destination", "scheme"): lambda r, s, now: r.scheme,
    ("destination", "sni"): lambda r, s, now: r.sni,
    ("session", "id"): lambda r, s, now: s.session_id,
    ("session", "identified"): lambda r, s, now: s.session_id != "",
    ("session", "labels"): lambda r, s, now: (),
    ("context", "claimed"): lambda r, s, now: r.claims.names,
    ("context", "malformed"): lambda r, s, now: r.claims.malformed,
    **{("context", name): _claim(name) for name in CLAIMS},
    ("now", "weekday"): lambda r, s, now: WEEKDAYS[_utc(now).weekday()],
    ("now", "hour"): lambda r, s, now: _utc(now).hour,
    ("now", "minute"): lambda r, s, now: _utc(now).minute,
    ("now", "date"): lambda r, s, now: _utc(now).date().isoformat(),
}
