"""The first message of a unary gRPC request as proto-JSON, by a descriptor set (`policy.proto_descriptor`).

In: a FileDescriptorSet once; then a body with its gRPC frame, and the path's two segments. Out: JSON values,
or NotReadable. Extensions are unknown to the plugin and are left out; so are other types in an Any than the
well-known ones: it gives an error for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, cast

from google.protobuf import (  # the first line by name: what an Any may hold
    descriptor_pb2,
    json_format,
    message_factory,
)
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from authz.errors import ConfigError
from authz.protocols.golang import numbers
from authz.protocols.golang.text import NotReadable

FRAME: Final = 5  # bytes before a message: compressed or not, and its length


class Truncated(Exception):
    """The frame announces more bytes than there are."""


class Descriptors:
    """The services of a descriptor set."""

    def __init__(self, file: Path) -> None:
        """Raises ConfigError for a file that is not a whole FileDescriptorSet."""
        try:
            files = descriptor_pb2.FileDescriptorSet.FromString(file.read_bytes()).file
            self._pool = cast(Any, DescriptorPool())  # it has no types
            for item in _in_order(files):
                _drop_extensions(item)
                self._pool.AddSerializedFile(item.SerializeToString())
            for item in files:
                self._pool.FindFileByName(item.name)
        except (OSError, DecodeError, TypeError, KeyError) as error:
            raise ConfigError(f"policy.proto_descriptor: {file}: {error}") from None

    def parse(self, body: bytes, path: list[str]) -> Any:
        """The message as JSON values; None for one that is compressed, or of no unary method known here.
        Raises Truncated, and NotReadable for what is no call or not its message.
        """
        if len(path) != 2:
            raise NotReadable("invalid parsed path")
        if len(body) < FRAME:
            raise NotReadable("less than 5 bytes")
        if body[0]:
            return None
        end = FRAME + int.from_bytes(body[1:FRAME], "big")
        if end > len(body):
            raise Truncated
        method = self._method(*path)
        if method is None or method.client_streaming:
            return None
        try:
            message = message_factory.GetMessageClass(method.input_type).FromString(body[FRAME:end])
            if not message.IsInitialized():
                raise NotReadable("a required field is missing")
            return _numbers(json_format.MessageToDict(message))
        except (DecodeError, UnicodeDecodeError, TypeError, ValueError, json_format.Error):
            raise NotReadable("the body is not the method's message") from None

    def _method(self, service: str, method: str) -> MethodDescriptor | None:
        try:
            methods: dict[str, MethodDescriptor] = self._pool.FindServiceByName(service).methods_by_name
        except KeyError:
            return None
        return methods.get(method)


def _in_order(files: Any) -> list[Any]:
    """Each file behind those that it imports."""
    by_name = {item.name: item for item in files}
    ordered: dict[str, Any] = {}

    def add(name: str) -> None:
        if name in by_name and name not in ordered:
            for imported in by_name[name].dependency:
                add(imported)
            ordered[name] = by_name[name]

    for item in files:
        add(item.name)
    return list(ordered.values())


def _drop_extensions(holder: Any) -> None:
    del holder.extension[:]
    for message in holder.message_type if hasattr(holder, "message_type") else holder.nested_type:
        _drop_extensions(message)


def _numbers(value: Any) -> Any:
    """Doubles as protojson writes them."""
    if isinstance(value, float):
        return numbers.of_message(value)
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if isinstance(value, dict):
        return {name: _numbers(item) for name, item in value.items()}
    return value
