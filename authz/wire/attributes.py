"""The request's attributes in opa-envoy-plugin's form, read on demand from the protobuf message.

In: an AttributeContext and its headers as `protocols/headers.py` reads them. Out: JSON values at a path
(`values.Attributes`). It is not proto-JSON: a time is {seconds, nanos}, an int64 a number, an enum its
number, an Any {typeUrl, value}, bytes are base64; fields with default values are absent, present messages {}.
With raw headers `headers` is what they say, which the plugin leaves empty. It never raises.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from authz.values import MISSING

_HEADERS: Final = ("request", "http", "headers")
_MAX_DEPTH: Final = 100  # protobuf parses no deeper
_NAMES: dict[Any, dict[str, FieldDescriptor]] = {}


class MessageAttributes:
    """`values.Attributes` over one AttributeContext."""

    __slots__ = ("_headers", "_message")

    def __init__(self, message: Message, headers: dict[str, str]) -> None:
        self._message = message
        self._headers = headers

    def at(self, path: tuple[str, ...]) -> Any:
        """The JSON value at `path` below `attributes`, or MISSING."""
        if path[:3] == _HEADERS:
            return _step(self._headers, path[3:])
        value: Any = self._message
        for depth, name in enumerate(path):
            if not isinstance(value, Message):
                return _step(value, path[depth:])
            value = _member(value, name)
            if value is MISSING:
                return MISSING
        document = plain(value) if isinstance(value, Message) else value
        return self._with_headers(document, path)

    def _with_headers(self, document: Any, path: tuple[str, ...]) -> Any:
        """`document` at `path` with the headers as they were read, where it lies above them."""
        if len(path) >= len(_HEADERS) or path != _HEADERS[: len(path)] or not isinstance(document, dict):
            return document
        below: dict[str, Any] = document
        for name in _HEADERS[len(path) : -1]:
            below = below.setdefault(name, {})
        below["headers"] = self._headers
        return document


def plain(message: Message) -> Any:
    """The whole of `message` as JSON values."""
    special = _SPECIAL.get(message.DESCRIPTOR.full_name)
    if special is not None:
        return special(message)
    return {field.camelcase_name: _value(field, value) for field, value in message.ListFields()}


def _member(message: Message, name: str) -> Any:
    """The member called `name` in JSON: a message as it is, everything else as JSON; MISSING if absent."""
    special = _SPECIAL.get(message.DESCRIPTOR.full_name)
    if special is not None:
        return _step(special(message), (name,))
    field = _fields(message).get(name)
    if field is None:
        return MISSING
    value = getattr(message, field.name)
    if field.has_presence:
        if not message.HasField(field.name):
            return MISSING
        return value if field.message_type else _scalar(field, value)
    return _value(field, value) if value else MISSING


def _fields(message: Message) -> dict[str, FieldDescriptor]:
    descriptor = message.DESCRIPTOR
    if descriptor not in _NAMES:
        _NAMES[descriptor] = {field.camelcase_name: field for field in descriptor.fields}
    return _NAMES[descriptor]


def _step(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return MISSING
        value = value[name]
    return value


def _value(field: FieldDescriptor, value: Any) -> Any:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        entry = kind.fields_by_name["value"]
        return {key: _scalar(entry, item) for key, item in sorted(value.items())}
    if field.is_repeated:
        return [_scalar(field, item) for item in value]
    return _scalar(field, value)


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, float):
        return _number(value)
    return value


def _number(value: float) -> Any:
    """Metadata has doubles only: whole ones are integers to policy, and JSON has no infinities."""
    if math.isfinite(value):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _struct(message: Any) -> dict[str, Any]:
    return {name: _struct_value(value) for name, value in sorted(message.fields.items())}


def _struct_value(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _struct(value.struct_value)
    if kind == "list_value":
        return [_struct_value(item) for item in value.list_value.values]
    if kind == "number_value":
        return _number(value.number_value)
    return getattr(value, kind) if kind in ("string_value", "bool_value") else None


def _time(message: Any) -> dict[str, int]:
    parts = {"seconds": message.seconds, "nanos": message.nanos}
    return {name: value for name, value in parts.items() if value}


def _any(message: Any) -> dict[str, str]:
    parts = {"typeUrl": message.type_url, "value": b64encode(message.value).decode()}
    return {name: value for name, value in parts.items() if value}


_SPECIAL: Final[dict[str, Callable[[Any], Any]]] = {
    "google.protobuf.Struct": _struct,
    "google.protobuf.Value": _struct_value,
    "google.protobuf.Timestamp": _time,
    "google.protobuf.Any": _any,
}
