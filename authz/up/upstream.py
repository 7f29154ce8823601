"""The sample upstream: an HTTP server that answers with what it received: anybody sees what it did not.

In: requests that Envoy let through. Out: 200 and a JSON object: method, path, headers, and the body's size
and SHA-256. It runs in threads of the process that starts it.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

from authz.up.places import LOOPBACK

KEPT: Final = 10_000
_LONGEST_BODY: Final = 16 << 20


class Upstream:
    """Serves from construction to `close`; a context manager. `seen` has the newest requests, in order."""

    def __init__(self, port: int) -> None:
        self.seen: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._server = _Server((LOOPBACK, port), _handler(self.seen))
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="upstream")
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # connections that Envoy keeps open do not hold up the end
    block_on_close = False
    request_queue_size = 128


def _handler(seen: deque[dict[str, Any]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one write per answer: head and body apart would wait for each other's acknowledgement
        disable_nagle_algorithm = True

        def answer(self) -> None:
            body = read_body(self)
            received = {
                "method": self.command,
                "path": self.path,
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "body_bytes": len(body),
                "body_sha256": hashlib.sha256(body).hexdigest(),
            }
            seen.append(received)
            answer = json.dumps(received).encode() + b"\n"
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)
            self.wfile.flush()

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
            pass

    return Handler


def read_body(request: BaseHTTPRequestHandler) -> bytes:
    """The request's body, whether its length was announced or it came in chunks."""
    if request.headers.get("transfer-encoding", "").lower() != "chunked":
        return request.rfile.read(min(int(request.headers.get("content-length", 0)), _LONGEST_BODY))
    body = b""
    while size := int(request.rfile.readline().split(b";")[0], 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body
