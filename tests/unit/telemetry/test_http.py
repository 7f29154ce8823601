"""The status server: where it listens, and how much of the process its callers can take."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from authz.errors import ConfigError
from authz.telemetry import http
from authz.telemetry.http import MAX_CONNECTIONS, StatusServer


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[StatusServer]:
    monkeypatch.setattr(http._Quiet, "timeout", 1.0)
    server = StatusServer("127.0.0.1:0", CollectorRegistry(), list)
    yield server
    server.close()


def body(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        content: bytes = answer.read()
        return content


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_address_in_brackets_is_one_to_listen_on() -> None:
    server = StatusServer("[::1]:0", CollectorRegistry(), list)
    try:
        assert body(f"http://[::1]:{server.port}/healthz") == b"ok\n"
    finally:
        server.close()


def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="metrics address ::1:9464: not HOST:PORT"):
        StatusServer("::1:9464", CollectorRegistry(), list)


def test_silent_callers_take_a_bounded_number_of_threads_for_a_bounded_time(served: StatusServer) -> None:
    address = ("127.0.0.1", served.port)
    silent = [socket.create_connection(address, timeout=10) for _ in range(MAX_CONNECTIONS)]
    try:
        with socket.create_connection(address, timeout=10) as refused:
            assert refused.recv(1) == b""
        assert [each.recv(1) for each in silent] == [b""] * MAX_CONNECTIONS
    finally:
        for each in silent:
            each.close()
    assert body(f"http://127.0.0.1:{served.port}/readyz") == b"ok\n"
