"""CheckRequest -> Request as opa-envoy-plugin's users have it: what it passes to policy is passed to policy.

Called by `service.py` instead of `extauthz.read` where `policy.compat` is set. What can be read in one way is
read by `extauthz.py`, and its Request gets the plugin's document beside it. What cannot becomes a Request all
the same, with what its record may say of it; only what the plugin does not parse either, what is beyond our
own limits, and what a route with `aegis.protocol` does not permit stay a Malformed. It never raises.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from msgspec.structs import replace

from authz._pb import aegis_ext_authz_pb2 as pb
from authz.config_compat import Plugin
from authz.config_listen import Limits
from authz.errors import Denied
from authz.protocols import claims
from authz.values import Action, Malformed, PluginInput, Reason, Request
from authz.wire import extauthz, mcp
from authz.wire.plugin.document import plugin_input
from authz.wire.plugin.grpc_body import Descriptors


class PluginReader:
    """Reads by the settings of one entry point."""

    def __init__(self, settings: Plugin, state: Path) -> None:
        """Raises ConfigError for a descriptor set that cannot be used."""
        file = settings.proto_descriptor
        self._descriptors = Descriptors(state / file) if file else None
        self._bodies = not settings.skip_request_body_parse

    def read(
        self, message: bytes, limits: Limits, parent: str, new_trace_id: Callable[[], str]
    ) -> Request | Malformed:
        """As `extauthz.read`, with `Request.plugin`."""
        strict = extauthz.read(message, limits, parent, new_trace_id)
        try:
            check = pb.CheckRequest.FromString(message)
        except DecodeError:
            return strict
        try:
            found = plugin_input(
                check.attributes if check.HasField("attributes") else None,
                bodies=self._bodies,
                descriptors=self._descriptors,
            )
            if isinstance(strict, Request):
                return replace(strict, plugin=found)
            if mcp.requires(check.attributes):
                return strict
            return _lenient(check.attributes, strict, found, limits)
        except Denied as denied:
            return _malformed(strict, denied)


def _malformed(read: Request | Malformed, denied: Denied) -> Malformed:
    names = Malformed.__struct_fields__
    kept = {name: getattr(read, name) for name in names if name not in ("reason", "detail", "mcp")}
    return Malformed(denied.reason, denied.detail, **kept)


def _lenient(attributes: Any, known: Malformed, found: PluginInput, limits: Limits) -> Request:
    """What `known` says for the record, and the rest as it came. Raises Denied beyond our limits."""
    http = attributes.request.http
    headers = _headers(http, limits)
    if len(http.path) > limits.path_bytes:
        raise Denied(Reason.MALFORMED_PATH, "path: too long")
    body = http.body.encode() or http.raw_body
    if len(body) > limits.body_bytes:
        raise Denied(Reason.BODY_TOO_LARGE, f"body: over {limits.body_bytes} bytes")
    context = dict(attributes.context_extensions)
    kind = extauthz.kind_of(http.method, headers)
    return Request(
        request_id=known.request_id,
        method=known.method,
        scheme=known.scheme,
        host=known.host,
        port=known.port,
        path=known.path,
        query=http.path.partition("?")[2],
        headers=headers,
        body=body,
        truncated_body=headers.get(extauthz.PARTIAL) == "true",
        sni=attributes.tls_session.sni,
        principal=attributes.source.principal,
        source_address=known.source_address,
        context=context,
        action=Action(kind, context.get(extauthz.TOOL, ""), known.method, known.path),
        attributes=_Unread(),
        trace_id=known.trace_id,
        parent_span_id=known.parent_span_id,
        sampled=known.sampled,
        claims=claims.read(headers, None),
        plugin=found,
    )


class _Unread:
    """Attributes of a request that has no one reading: policy is shown the plugin's document only."""

    def at(self, path: tuple[str, ...]) -> Any:
        raise Denied(Reason.MALFORMED_REQUEST, "the request can be read in more than one way")


def _headers(http: Any, limits: Limits) -> dict[str, str]:
    """For identity and record: of both forms, by names in lower case, several joined with a comma."""
    pairs = [*http.headers.items()]
    raw = http.header_map.headers
    pairs += ((entry.key, entry.value or entry.raw_value.decode(errors="replace")) for entry in raw)
    if len(pairs) > limits.header_count:
        raise Denied(Reason.MALFORMED_HEADERS, "headers: too many")
    if sum(len(name) + len(value) for name, value in pairs) > limits.header_bytes:
        raise Denied(Reason.MALFORMED_HEADERS, "headers: too large")
    found: dict[str, str] = {}
    for name, value in pairs:
        name = name.lower()
        found[name] = f"{found[name]},{value}" if name in found else value
    return found
