"""How long a record stays: its class, or longer if its policy demands it."""

from typing import Any

import pytest

from authz.config_retention import Retention
from authz.followers.retention.terms import Term, days, held, term

SETTINGS = Retention(default_days=1000, classes={"public": 365, "regulated": 2555})
AT = "2026-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("entry", "stays"),
    [
        ({}, (1000, "default")),
        ({"sensitivity": "public"}, (365, "public")),
        ({"sensitivity": "unknown"}, (1000, "default")),
        ({"sensitivity": 7}, (1000, "default")),
        ({"sensitivity": "public", "obligations": {"retention_days": 400}}, (400, "obligation")),
        ({"sensitivity": "public", "obligations": {"retention_days": 10}}, (365, "public")),
        ({"sensitivity": "public", "obligations": {"retention_days": True}}, (365, "public")),
        ({"sensitivity": "public", "obligations": "sha256:ab"}, (2555, "default")),
    ],
)
def test_a_class_says_the_least_and_an_obligation_more(entry: dict[str, Any], stays: tuple[int, str]) -> None:
    assert days(entry, SETTINGS) == stays


def test_a_segment_stays_until_its_last_entry_may_go() -> None:
    entries = [
        {"timestamp": AT, "sensitivity": "regulated"},
        {"timestamp": "2026-06-01T00:00:00.000000Z", "sensitivity": "public"},
    ]
    assert term(entries, SETTINGS) == Term("2032-12-30T00:00:00.000000Z", "regulated")


def test_one_entry_under_a_hold_holds_the_segment() -> None:
    entries = [{"agent_id": "a"}, {"agent_id": "b"}]
    assert held(entries, lambda entry: "case" if entry["agent_id"] == "b" else "") == "case"
    assert held(entries, lambda entry: "") == ""
