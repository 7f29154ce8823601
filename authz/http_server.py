"""An HTTP server on threads, bounded in connections and in how long each may do nothing.

In: HOST:PORT and a WSGI application. Out: its answers, until `close`. Called for metrics and for published
logs. Whoever reaches the port can take no more than `connections` threads, and none for longer than it sends
or reads something.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from authz.config_addresses import split_host_port
from authz.errors import ConfigError

IDLE_S: Final = 5.0  # in which a client must have sent its next bytes, or taken those of one write
CHUNK: Final = 1 << 16  # bytes of one write
BACKLOG: Final = 128  # connections that the kernel holds until they are accepted

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class _Quiet(WSGIRequestHandler):
    timeout = IDLE_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        pass


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = BACKLOG

    def bound(self, connections: int, patience_s: float) -> None:
        self._room, self._patience_s = threading.BoundedSemaphore(connections), patience_s

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(timeout=self._patience_s):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or sent what is no HTTP, is nothing to report."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class HttpServer:
    """Serves until `close`. More than `connections` at once wait for `patience_s` and are closed then. Raises
    ConfigError, whose text begins with `name`, when `address` (HOST:PORT) cannot be had.
    """

    def __init__(
        self, name: str, address: str, application: Application, *, connections: int, patience_s: float = 0.0
    ) -> None:
        try:
            host, port, family = split_host_port(address)
            server = _Server6 if family == socket.AF_INET6 else _Server
            self._server = make_server(host, port, application, server, _Quiet)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{name} {address}: {error}") from None
        self._server.bound(connections, patience_s)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def chunks(body: bytes) -> Iterable[bytes]:
    """`body` in writes, each of which a client must take in IDLE_S."""
    return (body[place : place + CHUNK] for place in range(0, len(body), CHUNK))
