"""/metrics, /healthz and /readyz on a thread of their own, so that a scrape never waits for a decision.

/healthz says that the process answers; /readyz names every reason why it should get no traffic. Whoever
reaches the port can take no more than MAX_CONNECTIONS threads, and none for longer than it sends something.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any, Final, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import make_wsgi_app

from authz.config import split_host_port
from authz.errors import ConfigError

MAX_CONNECTIONS: Final = 16  # more are closed at once
IDLE_S: Final = 5.0


class _Quiet(WSGIRequestHandler):
    timeout = IDLE_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        pass


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()


class _Server6(_Server):
    address_family = socket.AF_INET6


class StatusServer:
    """Serves until `close`. Raises ConfigError when `address` (HOST:PORT) cannot be had."""

    def __init__(self, address: str, registry: CollectorRegistry, not_ready: Callable[[], list[str]]) -> None:
        metrics = make_wsgi_app(registry)

        def application(environ: Any, start_response: Any) -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "")
            if path == "/metrics":
                return cast(Iterable[bytes], metrics(environ, start_response))
            if path not in ("/healthz", "/readyz"):
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"not found\n"]
            reasons = not_ready() if path == "/readyz" else []
            status = "503 Service Unavailable" if reasons else "200 OK"
            start_response(status, [("Content-Type", "text/plain")])
            return [("\n".join(reasons) or "ok").encode() + b"\n"]

        try:
            host, port, family = split_host_port(address)
            server = _Server6 if family == socket.AF_INET6 else _Server
            self._server = make_server(host, port, application, server, _Quiet)
        except (OSError, ValueError) as error:
            raise ConfigError(f"metrics address {address}: {error}") from None
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="status", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
