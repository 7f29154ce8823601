"""Whom a wish concerns, and that its event tells nobody who that was."""

import hashlib
import json
from typing import Any

import pytest

from authz.ledger import control
from authz.ledger.disclosures import form
from authz.ledger.disclosures.wish import Plan, Wish

AT = "2026-01-02T00:00:00.000000Z"
ENTRY = {"agent_id": "inner", "agent_chain": ["outer"], "timestamp": AT}
LOG = "aegis.test/worker-0/20260101T000000Z-0000000000000000"


def wish(by: Any = "time", value: str = "", start: str = "", end: str = "") -> Wish:
    return Wish(by, value, start, end, "officer", "request 7")


@pytest.mark.parametrize(("value", "meant"), [("inner", True), ("outer", True), ("inn", False), ("", False)])
def test_an_agent_is_meant_by_its_whole_name_also_in_the_chain(value: str, meant: bool) -> None:
    assert wish("agent", value).concerns(ENTRY) is meant


def test_a_chain_that_gave_way_to_its_digest_is_no_name() -> None:
    assert not wish("agent", "sha").concerns(ENTRY | {"agent_chain": "sha256:abc"})


@pytest.mark.parametrize(
    ("start", "end", "meant"),
    [
        (AT, "", True),
        ("", AT, False),
        ("2026-01-02T00:00:00.000001Z", "", False),
        ("2026-01-01T00:00:00.000000Z", "2026-01-03T00:00:00.000000Z", True),
    ],
)
def test_time_is_from_the_start_up_to_and_without_the_end(start: str, end: str, meant: bool) -> None:
    assert wish(start=start, end=end).concerns(ENTRY) is meant
    assert wish("agent", "inner", start, end).concerns(ENTRY) is meant


@pytest.mark.parametrize(
    ("value", "meant"),
    [("Miller", True), ("Mill", False), ("17", True), ("1", False), ("name", True), ("true", False)],
)
def test_a_subject_stands_as_a_whole_anywhere_in_a_value(value: str, meant: bool) -> None:
    facts = {"input": {"rows": [{"name": "Miller", "id": 17, "on": True}]}}
    assert wish("subject", value).means([form.make("facts", facts, bytes(16))]) is meant


def test_the_event_has_its_form_and_names_nobody() -> None:
    plan = Plan("019b7690-0001-7000-8000-00000000abcd", "salt", wish("subject", "Miller", start=AT))
    event = plan.event(3, [LOG])
    control.check("erasure", event)
    assert "Miller" not in json.dumps(event)
    assert event["value_digest"] == hashlib.sha256(b"salt\nMiller").hexdigest()
    assert (event["from"], event["count"], event["logs"]) == (AT, 3, [LOG])
    many = plan.event(3, [LOG] * 65)
    assert "logs" not in many
    control.check("erasure", many)
