"""The sample MCP server, made with the official SDK: it knows nothing of the gateway in front of it.

In: MCP requests that Envoy let through. Out: its two tools' results; `called` has what was really called, so
that anybody sees what was not. It runs in a thread of the process that starts it.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, Self

import uvicorn
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from authz.up.places import LOOPBACK

KEPT: Final = 10_000
HOST: Final = "tools.myorg.example"
PATH: Final = "/mcp"


class McpUpstream:
    """Serves from construction to `close` on a port of its own; a context manager."""

    def __init__(self) -> None:
        self.called: deque[str] = deque(maxlen=KEPT)
        security = TransportSecuritySettings(allowed_hosts=[HOST])
        app = _tools(self.called).streamable_http_app(
            streamable_http_path=PATH, transport_security=security, host=LOOPBACK
        )
        config = uvicorn.Config(
            app, host=LOOPBACK, port=0, log_level="error", ws="none", timeout_graceful_shutdown=1
        )
        self._socket = config.bind_socket()
        self.port: int = self._socket.getsockname()[1]
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="mcp")
        self._thread.start()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _tools(called: deque[str]) -> MCPServer:
    server: MCPServer = MCPServer("hospital tools", log_level="ERROR")

    @server.tool()
    def summarize_record(patient: str, max_words: int = 100) -> str:
        """A summary of one patient's records."""
        called.append("summarize_record")
        return f"patient {patient}: no findings, in at most {max_words} words"

    @server.tool()
    def charge(amount_cents: int, currency: str) -> str:
        """Take money from a patient's account."""
        called.append("charge")
        return f"charged {amount_cents} {currency}"

    return server
