"""Reads what a policy written for opa-envoy-plugin returned, with the plugin's checks in the plugin's order.

In: the `result` of an answer. Out: a Verdict with its PluginAnswer, without its version. Called by `stage.py`
where `policy.compat` is set. What the plugin answers with a gRPC error, so that Envoy's failure mode decides,
is Denied(policy_error) here and says which member is wrong.

    true | false | {"allowed": bool, "headers", "dynamic_metadata",
        with an allow:   "request_headers_to_remove", "response_headers_to_add",
                         "query_parameters_to_remove", "query_parameters_to_set",
        with a denial:   "body", "http_status"}

What belongs to the other branch, and other members, are not looked at. A name or value that HTTP forbids is
an error, too: Envoy would answer 500 or 503.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NoReturn
from urllib.parse import quote

import msgspec
import orjson
from msgspec.structs import replace

from authz.errors import Denied
from authz.values import Decision, PluginAnswer, Reason, Verdict

ALLOWED: Final = "policy_allowed"
DENIED: Final = "policy_denied"
# The codes of Envoy's StatusCode enum, less 0.
STATUSES: Final = frozenset(
    {100, *range(200, 209), 226, *range(300, 306), 307, 308, *range(400, 418), *range(421, 425), 426, 428}
    | {429, 431, *range(500, 509), 510, 511}
)
MAX_DEPTH: Final = 30  # of dynamic metadata: deeper ones no reader of protobuf takes
_NAME: Final = re.compile(r"[0-9A-Za-z!#$%&'*+.^_`|~-]+")  # RFC 9110 section 5.6.2
_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")  # section 5.5
_TARGET: Final = "".join(map(chr, range(0x21, 0x7F))).replace("#", "")
_REPLACEMENT: Final = "\ufffd"
_Pairs = tuple[tuple[str, str], ...]


def read_result(result: Any, rule: str = "") -> Verdict:
    """Raises Denied(policy_error) for everything but the form above. `rule` is what the verdict names."""
    if isinstance(result, bool):
        return _verdict(result, PluginAnswer(), rule)
    if not isinstance(result, dict):
        _refuse("neither a boolean nor an object")
    if "allowed" not in result:
        _refuse("allowed: missing")
    allowed = result["allowed"]
    if not isinstance(allowed, bool):
        _refuse("allowed: not a boolean")
    headers = _headers(result, "headers")
    metadata = _metadata(result)
    if allowed:
        answer = PluginAnswer(
            headers=headers,
            metadata=metadata,
            headers_to_remove=tuple(filter(_NAME.fullmatch, _texts(result, "request_headers_to_remove"))),
            response_headers=_headers(result, "response_headers_to_add"),
            query_to_remove=_texts(result, "query_parameters_to_remove"),
            query_to_set=_query(result),
        )
    else:
        body = _body(result)
        answer = PluginAnswer(headers=headers, metadata=metadata, body=body, http_status=_status(result))
    for name, value in (*answer.headers, *answer.response_headers):
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            _refuse("a header's name or value that HTTP forbids")
    return _verdict(allowed, replace(answer, replaced=_holds_replacement(answer)), rule)


def _verdict(allowed: bool, answer: PluginAnswer, rule: str) -> Verdict:
    decision, reason = (Decision.ALLOW, ALLOWED) if allowed else (Decision.DENY, DENIED)
    return Verdict(decision, reason, rule=rule, answer=answer)


def _holds_replacement(answer: PluginAnswer) -> bool:
    """Whether a string holds U+FFFD, other than as JSON: Go's json.marshal writes that for any bytes."""
    level: list[Any] = [msgspec.to_builtins(answer)]
    while level:
        item = level.pop()
        if isinstance(item, dict):
            level += (*item, *item.values())
        elif isinstance(item, list | tuple):
            level += item
        elif isinstance(item, str) and _REPLACEMENT in item and not _is_json(item):
            return True
    return False


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _refuse(what: str) -> NoReturn:
    raise Denied(Reason.POLICY_ERROR, f"policy result: {what}")


def _headers(result: dict[str, Any], member: str) -> _Pairs:
    """An object of names, or a list of such objects. Envoy may refuse names that are not in lower case."""
    found = result.get(member, {})
    objects = found if isinstance(found, list) else [found]
    return tuple(
        (name.lower() if name.isascii() else name, value.strip(" \t"))
        for item in objects
        for name, value in _pairs(item, f"{member}: not an object", member)
    )


def _query(result: dict[str, Any]) -> _Pairs:
    """Envoy puts them into the target as they are, so what a target cannot hold is escaped here."""
    member = "query_parameters_to_set"
    found = _pairs(result.get(member, {}), f"{member}: not an object", member)
    return tuple((quote(name, safe=_TARGET), quote(value, safe=_TARGET)) for name, value in found)


def _pairs(value: Any, otherwise: str, member: str) -> Iterator[tuple[str, str]]:
    """Each name with each of its values; one without values is not there."""
    if not isinstance(value, dict):
        _refuse(otherwise)
    for name, values in value.items():
        for text in [values] if isinstance(values, str) else _list(values, member):
            yield name, text


def _texts(result: dict[str, Any], member: str) -> tuple[str, ...]:
    return tuple(_list(result.get(member, []), member))


def _list(value: Any, member: str) -> Iterable[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        _refuse(f"{member}: neither text nor a list of it")
    return value


def _body(result: dict[str, Any]) -> str:
    body = result.get("body", "")
    if not isinstance(body, str):
        _refuse("body: not a string")
    return body


def _status(result: dict[str, Any]) -> int:
    """An integer in digits: 401.0 and 4e2 are none, as they are none to the plugin."""
    status = result.get("http_status", 403)
    if type(status) is not int or status not in STATUSES:
        _refuse("http_status: not a status code that Envoy knows")
    return status


def _metadata(result: dict[str, Any]) -> dict[str, Any]:
    metadata = result.get("dynamic_metadata", {})
    if not isinstance(metadata, dict):
        _refuse("dynamic_metadata: not an object")
    if _depth(metadata) > MAX_DEPTH:
        _refuse("dynamic_metadata: nested too deeply")
    return metadata


def _depth(value: Any) -> int:
    """Of objects and lists, as far as it matters."""
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        inner = [
            item.values() if isinstance(item, dict) else item
            for item in level
            if isinstance(item, (dict, list))
        ]
        depth += bool(inner)
        level = [item for items in inner for item in items]
    return depth
