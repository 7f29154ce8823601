"""CheckRequest -> Request: bytes in, one reading of them or a Malformed out, never an exception.

Called by `service.py` for every call. The order is: what cannot be parsed, headers, request line, authority,
body; the first fault names the reason. A Malformed carries what could be read of the rest, for its record.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import DecodeError

from authz._pb import aegis_ext_authz_pb2 as pb
from authz.config import Limits
from authz.errors import Denied
from authz.protocols import body as bodies
from authz.protocols import http as lines
from authz.protocols.headers import headers as read_headers
from authz.protocols.trace import traceparent
from authz.values import MISSING, Action, Malformed, Reason, Request
from authz.wire.attributes import MessageAttributes

PARTIAL: Final = "x-envoy-auth-partial-body"
TOOL: Final = "aegis.tool"  # in a route's context_extensions: policy's word for what plain HTTP does not name
_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_SHOWN: Final = re.compile(r"[!-~]*")
_MOST_SHOWN: Final = 512
_Trace = tuple[str, str, bool]


def read(message: bytes, limits: Limits, parent: str, new_trace_id: Callable[[], str]) -> Request | Malformed:
    """The one reading of a serialised CheckRequest.

    `parent` is the call's own `traceparent` ("" without one): Envoy's ext_authz span, when it traces.
    """
    try:
        attributes = pb.CheckRequest.FromString(message).attributes
    except DecodeError:
        return _unparsed(message, traceparent(parent) or (new_trace_id(), "", False))
    http = attributes.request.http
    trace: _Trace | None = traceparent(parent)
    try:
        headers = _headers(http, limits)
        if trace is None:
            trace = _agents_trace(headers) or (new_trace_id(), "", False)
        return _request(attributes, headers, limits, trace)
    except Denied as denied:
        trace = trace or (new_trace_id(), "", False)
        return _malformed(denied, http, attributes.source.address.socket_address.address, trace)


def _headers(http: Any, limits: Limits) -> dict[str, str]:
    """From the raw form (`encode_raw_headers`) or the plain map; never from both."""
    raw = http.header_map.headers
    if not raw:
        plain = http.headers
        return read_headers(list(plain), list(plain.values()), limits.header_count, limits.header_bytes)
    if http.headers:
        raise Denied(Reason.MALFORMED_HEADERS, "headers: in two forms")
    if len(raw) > limits.header_count:
        raise Denied(Reason.MALFORMED_HEADERS, "headers: too many")
    names = [header.key for header in raw]
    joined = b"\n".join([header.raw_value or header.value.encode() for header in raw])
    try:
        values = joined.decode().split("\n")  # one decoding for all of them
    except UnicodeDecodeError:
        raise Denied(Reason.MALFORMED_HEADERS, "headers: not UTF-8") from None
    if len(values) != len(names):
        raise Denied(Reason.MALFORMED_HEADERS, "headers: control byte in a value")
    return read_headers(names, values, limits.header_count, limits.header_bytes)


def _agents_trace(headers: dict[str, str]) -> _Trace | None:
    """The trace that the agent is in; its span is not our parent, since Envoy's lies between."""
    theirs = traceparent(headers.get("traceparent", ""))
    return (theirs[0], "", theirs[2]) if theirs else None


def _request(attributes: Any, headers: dict[str, str], limits: Limits, trace: _Trace) -> Request:
    http = attributes.request.http
    method, target, scheme = http.method, http.path, http.scheme
    lines.check_method(method)
    connect = method == "CONNECT"
    if scheme not in lines.DEFAULT_PORTS and not (connect and not scheme):
        raise Denied(Reason.MALFORMED_REQUEST, "scheme: not http or https")
    host, port = lines.authority(http.host, scheme, connect=connect)
    sni = attributes.tls_session.sni
    if sni:
        lines.check_server_name(sni, host)
    _check_line(headers, http)
    path, query = _target(http, target, method, limits)
    kind = _kind(method, headers)
    body, truncated = _body(http, headers, limits)
    arguments = MISSING if not body or truncated or kind == "tunnel" else _arguments(body, headers, limits)
    context = dict(attributes.context_extensions)
    source = attributes.source
    return Request(
        request_id=headers.get("x-request-id") or http.id,
        method=method,
        scheme=scheme,
        host=host,
        port=port,
        path=path,
        query=query,
        headers=headers,
        body=body,
        truncated_body=truncated,
        sni=sni,
        principal=source.principal,
        source_address=source.address.socket_address.address,
        context=context,
        action=Action(kind, context.get(TOOL, ""), method, path, arguments),
        attributes=MessageAttributes(attributes, headers),
        trace_id=trace[0],
        parent_span_id=trace[1],
        sampled=trace[2],
    )


def _check_line(headers: dict[str, str], http: Any) -> None:
    """Pseudo headers and Host say what the request line says."""
    authority = http.host
    if headers.get(":authority", authority) != authority or headers.get("host", authority) != authority:
        raise Denied(Reason.MALFORMED_HOST, "Host and authority differ")
    if headers.get(":path", http.path) != http.path or headers.get(":method", http.method) != http.method:
        raise Denied(Reason.MALFORMED_REQUEST, "request line and pseudo headers differ")


def _target(http: Any, target: str, method: str, limits: Limits) -> tuple[str, str]:
    if len(target) > limits.path_bytes:
        raise Denied(Reason.MALFORMED_PATH, "path: too long")
    if http.query or http.fragment:  # Envoy leaves the query in the path
        raise Denied(Reason.MALFORMED_PATH, "path: query or fragment apart from it")
    path, _, query = target.partition("?")
    path = lines.path(path, method)
    lines.check_query(query)
    return path, query


def _kind(method: str, headers: dict[str, str]) -> str:
    """`tunnel` for what nobody between the two ends can look into."""
    if method == "CONNECT" or "upgrade" in headers or ":protocol" in headers:
        return "tunnel"
    return "tunnel" if headers.get("content-type", "").lower().startswith("application/grpc") else "http"


def _body(http: Any, headers: dict[str, str], limits: Limits) -> tuple[bytes, bool]:
    """The body as far as it is here, and whether the upstream may get more than that."""
    body = http.raw_body
    if http.body:
        if body:
            raise Denied(Reason.MALFORMED_BODY, "body: in two forms")
        body = http.body.encode()
    if len(body) > limits.body_bytes:
        raise Denied(Reason.BODY_TOO_LARGE, f"body: over {limits.body_bytes} bytes")
    if headers.get(PARTIAL) == "true":
        return body, True
    length = headers.get("content-length")
    if length is None:
        return body, not body and "transfer-encoding" in headers
    if not _DIGITS.fullmatch(length):
        raise Denied(Reason.MALFORMED_HEADERS, "content-length: not a number of bytes")
    return body, int(length) > len(body)


def _arguments(body: bytes, headers: dict[str, str], limits: Limits) -> Any:
    kind = bodies.media(headers.get("content-type", ""))
    if kind != bodies.OTHER:
        bodies.check_coding(headers.get("content-encoding", ""))
    return bodies.arguments(body, kind, limits.json_depth)


def _malformed(denied: Denied, http: Any, source: str, trace: _Trace) -> Malformed:
    """What of a refused request may stand in its record: parts in order, the path without a query."""
    connect = http.method == "CONNECT"
    try:
        host, port = lines.authority(http.host, http.scheme, connect=connect)
    except Denied:
        host, port = "", 0
    try:
        lines.check_method(http.method)
        method = http.method
    except Denied:
        method = ""
    path = re.split("[?#]", http.path, maxsplit=1)[0][:_MOST_SHOWN]
    return Malformed(
        denied.reason,
        denied.detail,
        request_id=http.id,
        method=method,
        scheme=http.scheme if http.scheme in lines.DEFAULT_PORTS else "",
        host=host,
        port=port,
        path=path if _SHOWN.fullmatch(path) else "",
        source_address=source,
        trace_id=trace[0],
        parent_span_id=trace[1],
        sampled=trace[2],
    )


def _unparsed(message: bytes, trace: _Trace) -> Malformed:
    """Not a CheckRequest, or one whose text is not UTF-8: a reading as bytes still says who and where."""
    denied = Denied(Reason.MALFORMED_REQUEST, "CheckRequest: cannot be parsed")
    salvaged = pb.Salvage()
    try:
        salvaged.ParseFromString(message)
    except DecodeError:
        return Malformed(
            denied.reason, denied.detail, trace_id=trace[0], parent_span_id=trace[1], sampled=trace[2]
        )
    denied.detail = "CheckRequest: text that is not UTF-8"
    http = pb.AttributeContext.HttpRequest()
    for name in ("id", "method", "path", "host", "scheme"):
        setattr(http, name, getattr(salvaged.attributes.request.http, name).decode("latin-1"))
    source = salvaged.attributes.source.address.socket_address.address.decode("latin-1")
    return _malformed(denied, http, source, trace)
