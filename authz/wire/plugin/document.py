"""The input document exactly as opa-envoy-plugin builds it from a CheckRequest, its own parsing included.

In: the AttributeContext, and whether bodies are parsed and by which descriptors. Out: a PluginInput, or
Denied with the reason for what the plugin cannot parse either (it then answers `request_parse_error`). Unlike
`policy/document.py` it says nothing of its own, withholds nothing, and reads what others may read otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from authz.errors import Denied
from authz.protocols.golang import json_text, media_type, multipart, numbers, query
from authz.protocols.golang.text import NotReadable, shown, text
from authz.values import PluginInput, Reason
from authz.wire.attributes import plain
from authz.wire.extauthz import PARTIAL
from authz.wire.plugin.grpc_body import Descriptors, Truncated

PARSE_ERROR: Final = "request_parse_error: "  # what the plugin's answer begins with, and our detail
VERSION: Final = {"ext_authz": "v3", "encoding": "protojson"}
_METADATA: Final = {"metadataContext": "metadata_context", "routeMetadataContext": "route_metadata_context"}
_INTEGER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)


def plugin_input(attributes: Any, *, bodies: bool, descriptors: Descriptors | None) -> PluginInput:
    """`attributes`: the message, None without one. `bodies`: whether there are `parsed_body` and
    `truncated_body` at all.
    """
    document: dict[str, Any] = {"version": VERSION}
    if attributes is not None:
        document["attributes"] = _attributes(attributes)
        if attributes.source.principal:
            document["source_principal"] = attributes.source.principal
    http = attributes.request.http if attributes is not None else None
    target = http.path if http is not None else ""
    with _parsing(Reason.MALFORMED_PATH):
        segments = query.path_segments(target)
    with _parsing(Reason.MALFORMED_QUERY):
        pairs = query.parse_query(target.partition("?")[2])
    document["parsed_path"], lossy_path = shown(segments)
    document["parsed_query"], lossy_query = shown(pairs)
    if not bodies:
        return PluginInput(document, lossy_path or lossy_query)
    body, truncated = None, False
    if http is not None:
        with _parsing(Reason.MALFORMED_BODY):
            body, truncated = _body(http, segments, descriptors)
    document["parsed_body"], lossy_body = shown(body)
    document["truncated_body"] = truncated
    return PluginInput(document, lossy_path or lossy_query or lossy_body)


@contextmanager
def _parsing(reason: Reason) -> Iterator[None]:
    try:
        yield
    except NotReadable as error:
        raise Denied(reason, f"{PARSE_ERROR}{error}") from None


def _attributes(message: Any) -> dict[str, Any]:
    document: dict[str, Any] = plain(message)
    for name, field in _METADATA.items():
        structs = getattr(message, field).filter_metadata if message.HasField(field) else {}
        if structs:
            document[name]["filterMetadata"] = {key: _struct(found) for key, found in structs.items()}
    return document


def _struct(found: Any) -> dict[str, Any]:
    return {name: _value(value) for name, value in found.fields.items()}


def _value(value: Any) -> Any:
    """Every number of a Struct is a double, and is written as Go writes those."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return numbers.of_struct(value.number_value)
    if kind == "struct_value":
        return _struct(value.struct_value)
    if kind == "list_value":
        return [_value(item) for item in value.list_value.values]
    return plain(value)


def _body(http: Any, path: list[str], descriptors: Descriptors | None) -> tuple[Any, bool]:
    """`parsed_body` and `truncated_body`. The type is looked for as a substring, in this order."""
    headers: Mapping[str, str] = http.headers
    if headers.get(PARTIAL) == "true":
        return None, True
    kind = headers.get("content-type", "")
    if "application/json" in kind:
        return _read(http, lambda body: json_text.parse(body))
    if "application/grpc" in kind:
        return _grpc(http.raw_body, path, descriptors)
    if "application/x-www-form-urlencoded" in kind:
        return _read(http, lambda body: query.parse_query(text(body)))
    if "multipart/form-data" in kind:
        return _read(http, lambda body: _multipart(body, kind))
    return None, False


def _read(http: Any, parse: Any) -> tuple[Any, bool]:
    body = http.body.encode() or http.raw_body
    if not body:
        return None, False
    if "content-length" in http.headers and _announced(http.headers["content-length"]) > len(body):
        return None, True
    return parse(body), False


def _announced(length: str) -> int:
    """strconv.ParseInt; a negative one announces nothing."""
    if (
        not _INTEGER.fullmatch(length)
        or len(length.lstrip("+-0")) > 19
        or not -1 << 63 <= int(length) < 1 << 63
    ):
        raise Denied(Reason.MALFORMED_HEADERS, f"{PARSE_ERROR}content-length: not an integer")
    return int(length)


def _grpc(body: bytes, path: list[str], descriptors: Descriptors | None) -> tuple[Any, bool]:
    if descriptors is None or not body:
        return None, False
    try:
        return descriptors.parse(body, path), False
    except Truncated:
        return None, True


def _multipart(body: bytes, kind: str) -> Any:
    boundary = media_type.parse_media_type(kind)[1].get("boundary")
    if boundary is None:
        return None
    found: dict[str, list[Any]] = {}
    for part in multipart.parts(body, boundary):
        is_json = "application/json" in part.content_type
        found.setdefault(part.name, []).append(
            json_text.parse(part.content) if is_json else text(part.content)
        )
    return found
