"""The status server: what each of its paths says."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from authz.telemetry.http import StatusServer

REASONS: list[str] = []


@pytest.fixture
def served() -> Iterator[StatusServer]:
    registry = CollectorRegistry()
    Counter("seen", "For this test.", registry=registry).inc()
    server = StatusServer("127.0.0.1:0", registry, lambda: REASONS)
    yield server
    server.close()


def ask(served: StatusServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{served.port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_are_there(served: StatusServer) -> None:
    assert "seen_total 1.0" in ask(served, "/metrics")[1]


def test_readiness_names_every_reason_and_health_does_not_care(
    served: StatusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(served, "/readyz") == (200, "ok\n")
    monkeypatch.setattr("tests.unit.telemetry.test_http.REASONS", [])
    REASONS.extend(["no policy", "no ledger"])
    try:
        assert ask(served, "/readyz") == (503, "no policy\nno ledger\n")
        assert ask(served, "/healthz") == (200, "ok\n")
    finally:
        REASONS.clear()


def test_everything_else_is_not_there(served: StatusServer) -> None:
    assert ask(served, "/metrics/../etc/passwd")[0] == 404
