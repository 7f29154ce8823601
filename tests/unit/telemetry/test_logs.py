"""Logs: one JSON object a line, and no text of an exception, which may quote what an agent sent."""

import json

import pytest
import structlog

from authz.telemetry import logs


@pytest.fixture(autouse=True)
def _unconfigured() -> object:
    yield
    structlog.reset_defaults()


def fail(secret: str) -> None:
    raise KeyError(secret)


def test_an_exception_is_logged_by_type_and_place_without_its_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("info")
    try:
        fail("eyJsecret")
    except KeyError:
        structlog.get_logger().exception("decision_failed", error="KeyError")
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"], event["exception"]) == ("decision_failed", "error", "KeyError")
    assert event["where"][-1].endswith(" fail")
    assert "eyJsecret" not in line


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning")
    structlog.get_logger().info("policy_active")
    assert capsys.readouterr().err == ""
