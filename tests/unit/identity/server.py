"""An issuer's web server that answers as a test tells it, over HTTP or TLS."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.pki import Certificate
from tests.tokens import Issuer


class KeyServer:
    """`answer` is what the next requests get: status, headers, body. `asked` are their headers."""

    def __init__(self, port: int, scheme: str) -> None:
        self.url = f"{scheme}://127.0.0.1:{port}/jwks.json?v=1"
        self.asked: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.answer: tuple[int, dict[str, str], bytes] = (404, {}, b"")

    def serve(self, *issuers: Issuer, **headers: str) -> None:
        body = json.dumps({"keys": [issuer.jwk for issuer in issuers]}).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = (200, given, body)


@contextmanager
def key_server(own: Certificate | None = None) -> Iterator[KeyServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append({name.lower(): value for name, value in self.headers.items()})
            made.paths.append(self.path)
            made.go_on.wait(20)
            status, headers, body = made.answer
            if status == 200 and "ETag" in headers and self.headers["If-None-Match"] == headers["ETag"]:
                status, body = 304, b""
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # a client that leaves

    with Server(("127.0.0.1", 0), Handler) as server:
        if own is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(own.certificate, own.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        made = KeyServer(server.server_address[1], "https" if own else "http")
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield made
        finally:
            made.go_on.set()
            server.shutdown()
            serving.join()
