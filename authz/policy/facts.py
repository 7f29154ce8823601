"""The question put to policy: exactly the fields that the active policy reads, and nothing else.

In: an entry point's list of facts, compiled once per revision; then a Request, a Subject and the time. Out:
canonical JSON bytes which are at once what the engine is asked and the cache key, so that the cache can
never answer a question that the engine was not asked. Called by `stage.py` for every request.

A fact is a path. Below a field of the document it is followed into the value; above some it takes them all;
elsewhere it is undefined in every request. Two kinds of fields get special care:

* volatile ones (request ids, trace contexts, dates, times, the client's port) are sent where policy reads
  them, and that question is not cacheable: it never comes twice;
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
)
_BODIES: Final = (("parsed_body",), ("action", "arguments"), (*HTTP, "body"), (*HTTP, "rawBody"))
WHOLE: Final = EntryPoint(facts=((),), prune=False)

_Node = tuple[tuple[str, "Read | _Node"], ...]


class Plan:
    """How to ask one entry point of one revision."""

    def __init__(self, entry: EntryPoint, *, revision: str, deterministic: bool) -> None:
        paths = entry.facts if entry.prune else (*entry.facts, ())
        kept = _outermost(paths)
        named = frozenset(path[-1] for path in paths if path[:-1] == HEADERS and path[-1] in CREDENTIALS)
        self._root = _tree({leaf: read for path in kept for leaf, read in _readers(path, named)})
        self._revision = revision
        self._cacheable = deterministic and not any(is_volatile(path) for path in kept)
        self._all_headers = HEADERS in kept
        self._needs_body = any(_overlap(path, body) for path in kept for body in _BODIES)

    def facts(self, request: Request, subject: Subject, now: datetime) -> Facts:
        """Raises Denied for a body that policy needs and that is not all there, or a value JSON lacks."""
        if self._needs_body and truncated_body(request):
            raise Denied(Reason.BODY_TOO_LARGE, "policy reads the body, and only a part of it is here")
        document = _build(self._root, request, subject, now)
        try:
            question = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:
            raise Denied(Reason.MALFORMED_REQUEST, "a value that policy reads has no JSON form") from None
        cacheable = self._cacheable
        if cacheable and self._all_headers:
            cacheable = VOLATILE_HEADERS.isdisjoint(request.headers)
        return Facts(question, self._revision, cacheable)


def _outermost(paths: Iterable[Path]) -> list[Path]:
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
    return path != HEADERS and any(_overlap(path, volatile) for volatile in _VOLATILE)


def _readers(path: Path, named: frozenset[str]) -> Iterable[tuple[Path, Read]]:
    """The readers of `path`: one below a field, all of the fields below it otherwise."""
    for field, read in FIELDS.items():
        if path[: len(field)] == field:
            yield (
                path,
                _attribute(path, named) if field == ("attributes",) else _below(read, path[len(field) :]),
            )
        elif field[: len(path)] == path:
            yield field, _attribute(field, named) if field == ("attributes",) else read


def _attribute(path: Path, named: frozenset[str]) -> Read:
    below = path[1:]
    if path != HEADERS[: len(path)] and path[: len(HEADER_MAP)] != HEADER_MAP:
        return lambda request, subject, now: request.attributes.at(below)
    return lambda request, subject, now: withhold(request.attributes.at(below), path, named)


def _below(read: Read, steps: Path) -> Read:
    if not steps:
        return read

    def follow(request: Request, subject: Subject, now: datetime) -> Any:
        value = read(request, subject, now)
        for step in steps:
            if not isinstance(value, dict) or step not in value:
                return MISSING
            value = value[step]
        return value

    return follow


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


def _tree(readers: dict[Path, Read]) -> _Node:
    names: dict[str, dict[Path, Read]] = {}
    for path, read in readers.items():
        names.setdefault(path[0], {})[path[1:]] = read
    return tuple((name, below[()] if () in below else _tree(below)) for name, below in names.items())


def _build(node: _Node, request: Request, subject: Subject, now: datetime) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, below in node:
        if isinstance(below, tuple):
            value: Any = _build(below, request, subject, now)
            if not value:  # nothing of it is there; a reader of the member itself is a leaf
                continue
        else:
            value = below(request, subject, now)
            if value is MISSING:
                continue
        document[name] = value
    return document
