"""The HTTP server: where it listens, and how much of the process its callers can take."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from authz import http_server
from authz.errors import ConfigError
from authz.http_server import HttpServer

CONNECTIONS = 4
LONG = b"x" * (8 << 20)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body = LONG if environ["PATH_INFO"] == "/long" else b"ok\n"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return http_server.chunks(body)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpServer]:
    monkeypatch.setattr(http_server._Quiet, "timeout", 1.0)
    server = HttpServer("address", "127.0.0.1:0", application, connections=CONNECTIONS)
    yield server
    server.close()


def body(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        content: bytes = answer.read()
        return content


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_address_in_brackets_is_one_to_listen_on() -> None:
    server = HttpServer("address", "[::1]:0", application, connections=1)
    try:
        assert body(f"http://[::1]:{server.port}/") == b"ok\n"
    finally:
        server.close()


def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="metrics address ::1:9464: not HOST:PORT"):
        HttpServer("metrics address", "::1:9464", application, connections=1)


def test_an_address_that_is_taken_is_named(served: HttpServer) -> None:
    with pytest.raises(ConfigError, match=f"--listen 127.0.0.1:{served.port}: .*in use"):
        HttpServer("--listen", f"127.0.0.1:{served.port}", application, connections=1)


def test_silent_callers_take_a_bounded_number_of_threads_for_a_bounded_time(served: HttpServer) -> None:
    address = ("127.0.0.1", served.port)
    silent = [socket.create_connection(address, timeout=10) for _ in range(CONNECTIONS)]
    try:
        with socket.create_connection(address, timeout=10) as refused:
            assert refused.recv(1) == b""
        assert [each.recv(1) for each in silent] == [b""] * CONNECTIONS
    finally:
        for each in silent:
            each.close()
    assert body(f"http://127.0.0.1:{served.port}/") == b"ok\n"


def test_one_more_may_wait_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server._Quiet, "timeout", 1.0)
    server = HttpServer("address", "127.0.0.1:0", application, connections=1, patience_s=10.0)
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10):
            assert body(f"http://127.0.0.1:{server.port}/") == b"ok\n"
    finally:
        server.close()


def test_a_caller_that_takes_nothing_of_its_answer_is_left(
    served: HttpServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """The thread ends although the answer is not through; the connection then has an end, too."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(b"GET /long HTTP/1.0\r\n\r\n")
        while any("process_request_thread" in thread.name for thread in threading.enumerate()):
            pass
        received = 0
        while data := slow.recv(1 << 16):
            received += len(data)
    assert received < len(LONG)


def test_a_body_comes_in_writes_that_anybody_can_take_in_time() -> None:
    parts = list(http_server.chunks(LONG))
    assert b"".join(parts) == LONG
    assert max(map(len, parts)) == http_server.CHUNK
