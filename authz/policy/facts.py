"""The question put to policy: exactly the fields that the active policy reads, and nothing else.

In: an entry point's list of facts, compiled once per revision; then a Request, a Subject and the time. Out:
canonical JSON bytes which are at once what the engine is asked and the cache key, so that the cache can
never answer a question that the engine was not asked. Called by `stage.py` for every request.

A fact is a path. Below a field of the document it is followed into the value; above some it takes them all;
elsewhere it is undefined in every request. What stands on the way to a fact is sent, too, if it is there: an
object with what is read of it, possibly `{}`, anything else as it is. For opa deps lists `agent.claims.role`
alone for `x := input.agent.claims; not x.role`, which holds only where there are claims: without them such a
rule would be undefined, and a negation over it would turn true. Two kinds of fields get special care:

* volatile ones (request ids, trace contexts, dates, times, the client's port, the ids that a caller gives its
  steps) are sent where policy reads them, and that question is not cacheable: it never comes twice;
* credential headers are sent only where policy names them. A question that takes all headers shows that
  they are there and withholds the value: left out, a negation over them would turn true.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import orjson

from authz.errors import Denied
from authz.policy.document import FIELDS, Read, truncated_body
from authz.policy.manifest import EntryPoint, Path
from authz.values import MISSING, Facts, Reason, Request, Subject

HTTP: Final = ("attributes", "request", "http")
HEADERS: Final = (*HTTP, "headers")
HEADER_MAP: Final = (*HTTP, "headerMap")
WITHHELD: Final = "[withheld]"
CREDENTIALS: Final = frozenset(("x-aegis-agent-token", "authorization", "proxy-authorization", "cookie"))
VOLATILE_HEADERS: Final = frozenset(
    "x-request-id x-client-trace-id x-correlation-id traceparent tracestate b3 x-b3-traceid x-b3-spanid "
    "x-b3-parentspanid x-cloud-trace-context x-amzn-trace-id x-datadog-trace-id x-datadog-parent-id "
    "uber-trace-id x-ot-span-context sentry-trace date x-request-start x-queue-start x-envoy-start-time "
    "x-envoy-upstream-service-time x-envoy-expected-rq-timeout-ms x-envoy-attempt-count".split()
)
_VOLATILE: Final = (
    ("attributes", "request", "time"),
    (*HTTP, "id"),
    HEADER_MAP,
    ("attributes", "source", "address", "socketAddress", "portValue"),
    *((*HEADERS, name) for name in sorted(VOLATILE_HEADERS)),
    *(("context", name) for name in "action_id step_id parent_decision_id correlation_id".split()),
    ("context", "retrieval_time"),
)
_BODIES: Final = (("parsed_body",), ("action", "arguments"), (*HTTP, "body"), (*HTTP, "rawBody"))
WHOLE: Final = EntryPoint(facts=((),), prune=False)

_NAMES: Final = frozenset(field[0] for field in FIELDS)

_Wanted = dict[str, "_Wanted | None"]  # by member; None: all of it
_Members = tuple[tuple[str, Read], ...]


class Plan:
    """How to ask one entry point of one revision."""

    def __init__(self, entry: EntryPoint, *, revision: str, deterministic: bool) -> None:
        paths = entry.facts if entry.prune else (*entry.facts, ())
        kept = outermost(paths)
        named = _named_credentials(paths)
        members = _wanted(kept)
        self._document = _object(
            tuple((name, _member(name, members[name], named)) for name in members.keys() & _NAMES)
        )
        self._revision = revision
        self._cacheable = deterministic and not any(is_volatile(path) for path in kept)
        self._all_headers = HEADERS in kept
        self._needs_body = any(_overlap(path, body) for path in kept for body in _BODIES)

    def facts(self, request: Request, subject: Subject, now: datetime) -> Facts:
        """Raises Denied for a body that policy needs and that is not all there, or a value JSON lacks."""
        if self._needs_body and truncated_body(request):
            raise Denied(Reason.BODY_TOO_LARGE, "policy reads the body, and only a part of it is here")
        document = self._document(request, subject, now)
        try:
            question = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:
            raise Denied(Reason.MALFORMED_REQUEST, "a value that policy reads has no JSON form") from None
        cacheable = self._cacheable
        if cacheable and self._all_headers:
            cacheable = VOLATILE_HEADERS.isdisjoint(request.headers)
        return Facts(question, self._revision, cacheable)


def outermost(paths: Iterable[Path]) -> list[Path]:
    """The paths that no other one contains."""
    kept: list[Path] = []
    for path in sorted(set(paths)):
        if not (kept and path[: len(kept[-1])] == kept[-1]):
            kept.append(path)
    return kept


def _overlap(one: Path, other: Path) -> bool:
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]


def is_volatile(path: Path) -> bool:
    """Whether `path` always takes in something volatile; all headers are looked at per request."""
    return path != HEADERS and bool(volatile_in(path))


def volatile_in(path: Path) -> tuple[Path, ...]:
    """The volatile fields that `path` takes in, is, or lies in."""
    return tuple(volatile for volatile in _VOLATILE if _overlap(path, volatile))


def _named_credentials(paths: Iterable[Path]) -> frozenset[str]:
    below = len(HEADERS)
    named = {path[below] for path in paths if len(path) > below and path[:below] == HEADERS}
    return CREDENTIALS & named


def _wanted(paths: Iterable[Path]) -> _Wanted:
    """The paths, of which none contains another, as a tree; `()` stands for every member there is."""
    tree: _Wanted = {}
    for path in paths:
        if not path:
            return dict.fromkeys(_NAMES)
        node = tree
        for name in path[:-1]:
            node = node.setdefault(name, {})  # type: ignore[assignment]
        node[path[-1]] = None
    return tree


def _member(name: str, wanted: _Wanted | None, named: frozenset[str]) -> Read:
    """The reader of one member of the document: a field, or an object of fields that is always there."""
    if name == "attributes":
        return _attribute((name,), wanted, named)
    if (name,) in FIELDS:
        return _picked(FIELDS[name,], wanted)
    inner = [field[1] for field in FIELDS if field[0] == name]
    return _object(
        tuple(
            (below, _picked(FIELDS[name, below], None if wanted is None else wanted[below]))
            for below in inner
            if wanted is None or below in wanted
        )
    )


def _object(members: _Members) -> Read:
    """The reader of an object of what there is of `members`."""

    def read_object(request: Request, subject: Subject, now: datetime) -> dict[str, Any]:
        document = {}
        for name, read in members:
            value = read(request, subject, now)
            if value is not MISSING:
                document[name] = value
        return document

    return read_object


def _picked(read: Read, wanted: _Wanted | None) -> Read:
    if wanted is None:
        return read
    return lambda request, subject, now: pick(read(request, subject, now), wanted)


def pick(value: Any, wanted: _Wanted) -> Any:
    """What is wanted of an object; anything else as it is, since it is there and has no members."""
    if not isinstance(value, dict):
        return value
    return {
        name: value[name] if below is None else pick(value[name], below)
        for name, below in wanted.items()
        if name in value
    }


def _attribute(path: Path, wanted: _Wanted | None, named: frozenset[str]) -> Read:
    """The reader of the attribute at `path`, or of what is wanted below it, each by its own path."""
    below, guarded = path[1:], path == HEADERS[: len(path)] or path[: len(HEADER_MAP)] == HEADER_MAP
    if wanted is None and not guarded:
        return lambda request, subject, now: request.attributes.at(below)
    if wanted is None:
        return lambda request, subject, now: withhold(request.attributes.at(below), path, named)
    inside = _object(tuple((name, _attribute((*path, name), inner, named)) for name, inner in wanted.items()))

    def read(request: Request, subject: Subject, now: datetime) -> Any:
        document = inside(request, subject, now)
        if document or not below:  # there are always attributes
            return document
        value = request.attributes.at(below)
        return {} if isinstance(value, dict) else withhold(value, path, named) if guarded else value

    return read


def withhold(value: Any, path: Path, named: frozenset[str]) -> Any:
    """`value` at `path` with the credential headers inside masked, except the `named`; a copy if changed."""
    if path == HEADERS:
        return _masked_headers(value, named)
    if path[: len(HEADER_MAP)] == HEADER_MAP:
        return _masked_entries(value, named)
    if not isinstance(value, dict):
        return value
    changed = dict(value)
    for name in (HEADERS[len(path)], HEADER_MAP[len(path)]):
        if name in value:
            changed[name] = withhold(value[name], (*path, name), named)
    return changed


def _masked_headers(headers: Any, named: frozenset[str]) -> Any:
    if not isinstance(headers, dict) or CREDENTIALS.isdisjoint(map(str.lower, headers)):
        return headers
    hidden = CREDENTIALS - named
    return {name: WITHHELD if name.lower() in hidden else text for name, text in headers.items()}


def _masked_entries(value: Any, named: frozenset[str]) -> Any:
    """The raw form, `{"headers": [{"key", "value" or "rawValue"}]}`."""
    if isinstance(value, dict) and isinstance(value.get("key"), str):
        if value["key"].lower() in CREDENTIALS - named:
            return {"key": value["key"], "value": WITHHELD}
        return value
    if isinstance(value, dict):
        return {name: _masked_entries(item, named) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked_entries(item, named) for item in value]
    return value
