"""/metrics, /healthz and /readyz on a thread of their own, so that a scrape never waits for a decision.

/healthz says that the process answers; /readyz names every reason why it should get no traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import make_wsgi_app

from authz.http_server import HttpServer

MAX_CONNECTIONS: Final = 16  # more are closed at once


class StatusServer(HttpServer):
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

        super().__init__("metrics address", address, application, connections=MAX_CONNECTIONS)
