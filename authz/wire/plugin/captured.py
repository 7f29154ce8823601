"""Requests that were captured, read back as Envoy sent them: one JSON object a line.

In: a line. Out: the bytes of a CheckRequest, or ValueError saying what is wrong with it. Called by
`aegis policy compare`. A line may be any of

    {"attributes": {...}}               a CheckRequest as proto-JSON
    {"input": {"attributes": {...}}}    an event of opa-envoy-plugin's decision log, with its forms
    {"message": "BASE64"}               the serialised CheckRequest, which also holds what is no UTF-8

The plugin's forms are those of its input document: a time is {seconds, nanos}, an Any {typeUrl, value}.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from collections.abc import Callable
from typing import Any, Final

import orjson
from google.protobuf import json_format

from authz._pb import aegis_ext_authz_pb2 as pb

MOST: Final = 8 << 20  # bytes of a line
_METADATA: Final = (
    ("metadataContext", "metadata_context"),
    ("routeMetadataContext", "route_metadata_context"),
)


def read(line: bytes) -> bytes:
    """The CheckRequest in `line`, serialised."""
    if len(line) > MOST:
        raise ValueError(f"over {MOST} bytes")
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg}") from None
    found = found if isinstance(found, dict) else {}
    if "message" in found:
        return _message(found["message"])
    document = found.get("input", found)
    attributes = document.get("attributes") if isinstance(document, dict) else None
    if not isinstance(attributes, dict):
        raise ValueError("neither attributes, nor input.attributes, nor message")  # noqa: TRY004
    return _check(attributes)


def _message(text: Any) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (Error, TypeError, ValueError):
        raise ValueError("message: not base64") from None


def _check(attributes: dict[str, Any]) -> bytes:
    check = pb.CheckRequest()
    check.attributes.SetInParent()
    tree = dict(attributes)
    time = _take(tree, "request", "time", lambda value: isinstance(value, dict))
    typed = [(field, _take(tree, name, "typedFilterMetadata", _is_plugins)) for name, field in _METADATA]
    try:
        json_format.ParseDict(tree, check.attributes)
    except (json_format.ParseError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"attributes: {str(error).partition(chr(10))[0][:200]}") from None
    _put_time(check.attributes, time)
    for field, found in typed:
        _put_typed(getattr(check.attributes, field), found)
    return bytes(check.SerializeToString())


def _take(tree: dict[str, Any], name: str, member: str, wanted: Callable[[Any], bool]) -> Any:
    """The value of `tree[name][member]`, out of a copy of `tree[name]`, if it is one that is `wanted`."""
    holder = tree.get(name)
    if not isinstance(holder, dict) or not wanted(holder.get(member)):
        return None
    tree[name] = {key: value for key, value in holder.items() if key != member}
    return holder[member]


def _is_plugins(typed: Any) -> bool:
    return isinstance(typed, dict) and not any("@type" in value for value in typed.values())


def _put_time(attributes: Any, time: Any) -> None:
    if time is None:
        return
    attributes.request.time.SetInParent()
    try:
        attributes.request.time.seconds = int(time.get("seconds", 0))
        attributes.request.time.nanos = int(time.get("nanos", 0))
    except (TypeError, ValueError):
        raise ValueError("request.time: neither a time nor {seconds, nanos}") from None


def _put_typed(metadata: Any, typed: Any) -> None:
    """An Any in the plugin's form needs no type that is known here."""
    for key, value in (typed or {}).items():
        found = metadata.typed_filter_metadata[key]
        found.type_url = str(value.get("typeUrl", ""))
        found.value = _message(value.get("value", ""))
