"""The request's attributes in opa-envoy-plugin's form, read on demand from the protobuf message.

In: an AttributeContext, and the request line, headers and body as `extauthz.py` has read them. Out: JSON
values at a path (`values.Attributes`). Called while a question is put together. It never raises.

It is not proto-JSON: a time is {seconds, nanos}, an int64 a number, an enum its number, an Any {typeUrl,
value}, bytes are base64; fields with default values are absent, messages that are present are {}. The plugin
shows the request line as it came; here it is the one reading of it, so that a rule on `http.host` or
`http.path` cannot be evaded by another spelling. `headers` and `body` are there whatever form they came in.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from authz.values import MISSING

_HTTP: Final = ("request", "http")


class MessageAttributes:
    """`values.Attributes` over one AttributeContext.

    `line` holds what was read of `request.http`, by its names there (method, path, host, scheme, headers);
    `body` is the body as it came, whatever form it came in.
    """

    __slots__ = ("_body", "_line", "_message")

    def __init__(self, message: Message, line: dict[str, Any], body: bytes) -> None:
        self._message = message
        self._line = line
        self._body = body

    def at(self, path: tuple[str, ...]) -> Any:
        """The JSON value at `path` below `attributes`, or MISSING."""
        if len(path) > 2 and path[:2] == _HTTP:
            read = self._read(path[2])
            if read is not None:
                return _step(read, path[3:]) if read else MISSING
        value: Any = self._message
        for name in path:
            value = _below(value, name)
            if value is MISSING:
                return MISSING
        document = plain(value)
        if path == _HTTP[: len(path)]:
            self._put_line(document, path)
        return document

    def _read(self, name: str) -> Any:
        """What was read of the member `name` of `request.http`; None where it is only in the message."""
        if name == "body":
            return self._body.decode(errors="replace")
        return self._line.get(name)

    def _put_line(self, document: dict[str, Any], path: tuple[str, ...]) -> None:
        """Into `document` at `path`, which lies at or above `request.http`."""
        for name in _HTTP[len(path) :]:
            document = document.setdefault(name, {})
        for name in (*self._line, "body"):
            value = self._read(name)
            if value:
                document[name] = value


def plain(value: Any) -> Any:
    """A message, or a value of one of its fields, as JSON values."""
    if isinstance(value, Message):
        special = _SPECIAL.get(type(value))
        if special is not None:
            return special(value)
        return {field.camelcase_name: plain(item) for field, item in value.ListFields()}
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value]


def _below(value: Any, name: str) -> Any:
    """The member of `value` called `name` in JSON, not yet as JSON; MISSING if there is none."""
    if isinstance(value, Message):
        special = _SPECIAL.get(type(value))
        if special is None:
            return _field(value, name)
        if isinstance(value, Value) and value.HasField("struct_value"):
            value = value.struct_value
        value = value.fields if isinstance(value, Struct) else special(value)
    if isinstance(value, Mapping) and name in value:
        return value[name]
    return MISSING


def _field(message: Message, name: str) -> Any:
    field = _fields(message.DESCRIPTOR).get(name)
    if field is None:
        return MISSING
    if field.has_presence:
        return getattr(message, field.name) if message.HasField(field.name) else MISSING
    return getattr(message, field.name) or MISSING


@cache
def _fields(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    return {field.camelcase_name: field for field in descriptor.fields}


def _step(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return MISSING
        value = value[name]
    return value


def _struct(message: Any) -> dict[str, Any]:
    return {name: _value(value) for name, value in message.fields.items()}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _struct(value.struct_value)
    if kind == "list_value":
        return [_value(item) for item in value.list_value.values]
    if kind == "number_value":
        return _number(value.number_value)
    return getattr(value, kind) if kind in ("string_value", "bool_value") else None


def _number(value: float) -> Any:
    """Metadata has doubles only: whole ones are integers to policy, and JSON has no infinities."""
    if math.isfinite(value):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _time(message: Any) -> dict[str, int]:
    parts = {"seconds": message.seconds, "nanos": message.nanos}
    return {name: value for name, value in parts.items() if value}


def _any(message: Any) -> dict[str, str]:
    parts = {"typeUrl": message.type_url, "value": b64encode(message.value).decode()}
    return {name: value for name, value in parts.items() if value}


_SPECIAL: Final[dict[type[Message], Callable[[Any], Any]]] = {
    Struct: _struct,
    Value: _value,
    Timestamp: _time,
    AnyMessage: _any,
}
