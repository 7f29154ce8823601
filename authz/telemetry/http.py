"""/metrics, /healthz and /readyz on a thread of their own, so that a scrape never waits for a decision.

/healthz says that the process answers; /readyz names every reason why it should get no traffic.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import make_wsgi_app

from authz.errors import ConfigError


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        pass


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class StatusServer:
    """Serves until `close`. Raises ConfigError when `address` (HOST:PORT) cannot be had."""

    def __init__(self, address: str, registry: CollectorRegistry, not_ready: Callable[[], list[str]]) -> None:
        host, _, port = address.rpartition(":")
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
            self._server = make_server(host, int(port), application, _Server, _Quiet)
        except (OSError, ValueError) as error:
            raise ConfigError(f"metrics address {address}: {error}") from None
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="status", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
