"""What of a CheckRequest concerns MCP: the message, Envoy's own reading of it, what its route requires.

In: attributes and what `extauthz.py` has read of them. Out: Mcp or None, or NotMcp (a Denied) where the route
requires MCP and the request is none. Called for every request; decides nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from authz.errors import Denied
from authz.protocols import mcp
from authz.values import Mcp, Reason
from authz.wire.attributes import plain

PROTOCOL: Final = "aegis.protocol"  # in a route's context_extensions; `mcp` is the one word it knows
FILTER: Final = "envoy.filters.http.mcp"


class NotMcp(Denied):
    """The route requires MCP; `message` says what was read instead."""

    def __init__(self, message: Mcp) -> None:
        super().__init__(message.fault or Reason.MALFORMED_MCP_MESSAGE, "the route requires MCP")
        self.message = message


def message(attributes: Any, headers: Mapping[str, str], body: Any, *, truncated: bool) -> Mcp | None:
    """The MCP message of a request. Raises NotMcp, or Denied for one that is not all there."""
    method = attributes.request.http.method
    if truncated and requires(attributes):
        raise Denied(Reason.BODY_TOO_LARGE, "the route requires MCP, and only a part of the body is here")
    read = mcp.read(method, headers, body, _envoys(attributes))
    if (read is None or read.fault) and requires(attributes):
        raise NotMcp(read or Mcp(""))
    return read


def requires(attributes: Any) -> bool:
    """Whether the route says that only MCP may pass. A word that is not known requires it, too."""
    return bool(attributes.context_extensions.get(PROTOCOL))


def client(denied: Denied, attributes: Any, headers: Mapping[str, str]) -> Mcp | None:
    """What the answer to a refused request needs to know, where its caller is an MCP client."""
    if isinstance(denied, NotMcp):
        return denied.message
    return Mcp("", fault=denied.reason) if mcp.speaks(headers) or requires(attributes) else None


def _envoys(attributes: Any) -> Mapping[str, Any] | None:
    """What Envoy's mcp filter has read before us, where it stands in front and took the request for MCP."""
    found = attributes.metadata_context.filter_metadata
    return plain(found[FILTER]) if FILTER in found else None
