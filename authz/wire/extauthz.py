"""CheckRequest -> Request: bytes in, one reading of them or a Malformed out, never an exception.

Called by `service.py` for every call. The order is: what cannot be parsed, headers, request line, authority,
body; the first fault names the reason. A Malformed carries what could be read of the rest, for its record:
never the query, never user information, nothing that a terminal would not show.

Envoy sends headers as `headers` or, with `encode_raw_headers`, as `header_map`, and a body as `body` or, with
`pack_as_bytes`, as `raw_body`. All four are read, and two forms of one thing are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from google.protobuf.message import DecodeError

from authz._pb import aegis_ext_authz_pb2 as pb
from authz.config_listen import Limits
from authz.errors import Denied
from authz.protocols import body as bodies
from authz.protocols import claims
from authz.protocols import http as lines
from authz.protocols.headers import headers as read_headers
from authz.protocols.trace import traceparent
from authz.values import MISSING, Action, Malformed, Mcp, Reason, Request
from authz.wire import mcp
from authz.wire.attributes import MessageAttributes

PARTIAL: Final = "x-envoy-auth-partial-body"
REQUEST_ID: Final = "x-request-id"
TOOL: Final = "aegis.tool"  # in a route's context_extensions: policy's word for what plain HTTP does not name
_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_USER: Final = re.compile(r"//[^/]*@")
_MOST_SHOWN: Final = 512  # characters of a refused path
_MOST_HOST: Final = 128  # characters of a refused host, which may be anything
_Trace = tuple[str, str, bool]  # trace id, parent span id, sampled


class _Line(NamedTuple):
    """What of a refused request its record may name, as text that may hold anything."""

    id: str = ""
    method: str = ""
    scheme: str = ""
    host: str = ""
    path: str = ""
    source: str = ""


def read(message: bytes, limits: Limits, parent: str, new_trace_id: Callable[[], str]) -> Request | Malformed:
    """The one reading of a serialised CheckRequest.

    `parent` is the call's own `traceparent` ("" without one): Envoy's ext_authz span, when it traces.
    """
    trace: _Trace | None = traceparent(parent)
    try:
        attributes = pb.CheckRequest.FromString(message).attributes
    except DecodeError:
        return _unparsed(message, trace or (new_trace_id(), "", False))
    http = attributes.request.http
    headers: dict[str, str] = {}
    try:
        headers = _headers(http, limits)
        if trace is None:
            trace = _agents_trace(headers) or (new_trace_id(), "", False)
        return _request(attributes, headers, limits, trace)
    except Denied as denied:
        line = _line(attributes, headers, limits)
        client = mcp.client(denied, attributes, headers)
        return _malformed(denied, line, trace or (new_trace_id(), "", False), client)


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
    entries = list(raw)
    names = [entry.key for entry in entries]
    octets = [entry.raw_value for entry in entries]
    texts = [entry.value for entry in entries]
    if any(texts):
        octets = _octets(octets, texts)
    try:
        values = b"\n".join(octets).decode().split("\n")  # one decoding for all of them
    except UnicodeDecodeError:
        raise Denied(Reason.MALFORMED_HEADERS, "headers: not UTF-8") from None
    if len(values) != len(names):
        raise Denied(Reason.MALFORMED_HEADERS, "headers: control byte in a value")
    return read_headers(names, values, limits.header_count, limits.header_bytes)


def _octets(octets: list[bytes], texts: list[str]) -> list[bytes]:
    """Each value from `raw_value` or from `value`, whichever is there."""
    if any(text and raw for raw, text in zip(octets, texts, strict=True)):
        raise Denied(Reason.MALFORMED_HEADERS, "headers: a value in two forms")
    return [raw or text.encode() for raw, text in zip(octets, texts, strict=True)]


def _agents_trace(headers: dict[str, str]) -> _Trace | None:
    """The trace that the agent is in; its span is not our parent, since Envoy's lies between."""
    theirs = traceparent(headers.get("traceparent", ""))
    return (theirs[0], "", theirs[2]) if theirs else None


def _request(attributes: Any, headers: dict[str, str], limits: Limits, trace: _Trace) -> Request:
    http = attributes.request.http
    method, scheme, authority = http.method, http.scheme, http.host
    lines.check_method(method)
    connect = method == "CONNECT"
    if scheme not in lines.DEFAULT_PORTS and not (connect and not scheme):
        raise Denied(Reason.MALFORMED_REQUEST, "scheme: not http or https")
    host, port = lines.authority(authority, scheme, connect=connect)
    sni = attributes.tls_session.sni
    if sni:
        lines.check_server_name(sni, host)
    _check_line(headers, http)
    target, path, query = _target(http, method, limits)
    if authority != host or target != http.path:
        authority = host if port == lines.DEFAULT_PORTS.get(scheme) and not connect else f"{host}:{port}"
        _put_line(headers, authority, target)
    kind = kind_of(method, headers)
    body, truncated = _body(http, headers, limits)
    arguments = MISSING if not body or truncated or kind == "tunnel" else _arguments(body, headers, limits)
    message = None if kind == "tunnel" else mcp.message(attributes, headers, arguments, truncated=truncated)
    if message is not None and not message.fault:
        kind, arguments = "mcp", message.arguments
    context = dict(attributes.context_extensions)
    source = attributes.source
    line = {"method": method, "path": target, "host": authority, "scheme": scheme, "headers": headers}
    return Request(
        request_id=headers.get(REQUEST_ID) or http.id,
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
        attributes=MessageAttributes(attributes, line, body),
        trace_id=trace[0],
        parent_span_id=trace[1],
        sampled=trace[2],
        claims=claims.read(headers, message.meta if message else None),
        mcp=message,
    )


def _target(http: Any, method: str, limits: Limits) -> tuple[str, str, str]:
    """The target in its normal form, and its two parts: path and query."""
    target = http.path
    if len(target) > limits.path_bytes:
        raise Denied(Reason.MALFORMED_PATH, "path: too long")
    if http.query or http.fragment:  # Envoy leaves the query in the path
        raise Denied(Reason.MALFORMED_PATH, "path: query or fragment apart from it")
    path, mark, query = target.partition("?")
    normal = lines.path(path, method)
    lines.check_query(query)
    return target if normal is path else normal + mark + query, normal, query


def _check_line(headers: dict[str, str], http: Any) -> None:
    """Pseudo headers and Host say what the request line says."""
    get, authority = headers.get, http.host
    if get(":authority", authority) != authority or get("host", authority) != authority:
        raise Denied(Reason.MALFORMED_HOST, "Host and authority differ")
    for name, value in ((":path", http.path), (":method", http.method), (":scheme", http.scheme)):
        if get(name, value) != value:
            raise Denied(Reason.MALFORMED_REQUEST, "request line and pseudo headers differ")


def _put_line(headers: dict[str, str], authority: str, target: str) -> None:
    """Let the headers that repeat the request line say its normal form, too."""
    for name, value in ((":authority", authority), ("host", authority), (":path", target)):
        if name in headers:
            headers[name] = value


def kind_of(method: str, headers: dict[str, str]) -> str:
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
    length = headers.get("content-length")
    if length is None:
        partial = not body and "transfer-encoding" in headers
    elif _DIGITS.fullmatch(length):
        partial = int(length) > len(body)
        if int(length) < len(body):
            raise Denied(Reason.MALFORMED_BODY, "body: longer than its content-length")
    else:
        raise Denied(Reason.MALFORMED_HEADERS, "content-length: not a number of bytes")
    return body, partial or headers.get(PARTIAL) == "true"


def _arguments(body: bytes, headers: dict[str, str], limits: Limits) -> Any:
    kind = bodies.media(headers.get("content-type", ""))
    if kind in (bodies.JSON, bodies.FORM):
        bodies.check_coding(headers.get("content-encoding", ""))
    return bodies.arguments(body, kind, limits.json_depth)


def _unparsed(message: bytes, trace: _Trace) -> Malformed:
    """Not a CheckRequest, or one whose text is not UTF-8: a reading as bytes still says who and where."""
    try:
        salvaged = pb.Salvage.FromString(message).attributes
    except DecodeError:
        return _malformed(Denied(Reason.MALFORMED_REQUEST, "CheckRequest: cannot be parsed"), _Line(), trace)
    http = salvaged.request.http
    text = {
        name: getattr(http, name).decode(errors="surrogateescape")
        for name in ("id", "method", "scheme", "host", "path")
    }
    source = salvaged.source.address.socket_address.address.decode(errors="replace")
    denied = Denied(Reason.MALFORMED_REQUEST, "CheckRequest: text that is not UTF-8, or nested too deeply")
    return _malformed(denied, _Line(**text, source=source), trace)


def _line(attributes: Any, headers: dict[str, str], limits: Limits) -> _Line:
    http = attributes.request.http
    request_id = headers.get(REQUEST_ID, "")
    if not headers:
        raw = http.header_map.headers[: limits.header_count]
        named = [header for header in raw if header.key == REQUEST_ID]
        given = named[0].raw_value.decode(errors="replace") or named[0].value if named else ""
        request_id = given or http.headers.get(REQUEST_ID, "")
    source = attributes.source.address.socket_address.address
    return _Line(request_id or http.id, http.method, http.scheme, http.host, http.path, source)


def _malformed(denied: Denied, line: _Line, trace: _Trace, client: Mcp | None = None) -> Malformed:
    """What of a refused request may stand in its record."""
    try:
        lines.check_method(line.method)
        method = line.method
    except Denied:
        method = ""
    try:
        host, port = lines.authority(line.host, line.scheme, connect=method == "CONNECT")
    except Denied:
        host, port = _shown(line.host.rpartition("@")[2], _MOST_HOST), 0
    path = re.split("[?#]", _USER.sub("//", line.path), maxsplit=1)[0]
    return Malformed(
        denied.reason,
        denied.detail,
        request_id=_shown(line.id, _MOST_SHOWN),
        method=method,
        scheme=line.scheme if line.scheme in lines.DEFAULT_PORTS else "",
        host=host,
        port=port,
        path=_shown(path, _MOST_SHOWN),
        source_address=line.source,
        trace_id=trace[0],
        parent_span_id=trace[1],
        sampled=trace[2],
        mcp=client,
    )


def _shown(text: str, most: int) -> str:
    """The beginning of `text` with everything but visible ASCII escaped."""
    return quote(text[:most], safe=_VISIBLE, errors="surrogateescape")[:most]
