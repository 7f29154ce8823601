"""A web server on loopback that answers as a test tells it, and keeps what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from msgspec import Struct

Headers = dict[str, str]


class Asked(Struct, frozen=True):
    method: str
    path: str
    headers: Headers
    body: bytes


Answering = Callable[[Asked], tuple[int, Headers, bytes]]


class Server:
    """`answering` may be exchanged at any time."""

    def __init__(self, port: int, answering: Answering) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.answering = answering
        self.asked: list[Asked] = []


@contextmanager
def serving(answering: Answering) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, body)
            made.asked.append(asked)
            status, given, answer = made.answering(asked)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(answer))} | given).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # a client that leaves

    with Quiet(("127.0.0.1", 0), Handler) as server:
        made = Server(server.server_address[1], answering)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
