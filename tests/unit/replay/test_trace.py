"""Which rules fired is read from OPA's own trace, and shown by file and line."""

from pathlib import Path

import pytest

from authz.replay import version
from authz.replay.trace import Explain, trace
from authz.replay.version import NotJudged
from tests.policy.opa import ALLOW, DENY, version_of

REGO = f"""{DENY}
decision := {ALLOW} if {{
    known
    trace(sprintf("asked by %s", [input.agent.id]))
}}

known if input.agent.id == "a"
"""


def test_rules_that_fired_with_their_place_and_what_they_say(tmp_path: Path) -> None:
    found = version.of_bundle(version_of(tmp_path, REGO).file)
    steps = trace(found, "aegis/decision", b'{"agent":{"id":"a"}}').steps
    assert [(step.what, step.place, step.text) for step in steps] == [
        ("fired", "aegis/decision.rego:10", "aegis.known"),
        (
            "fired",
            "aegis/decision.rego:5",
            'aegis.decision = {"decision":"allow","reason_code":"permitted","rule":"allow"}',
        ),
    ]


def test_what_did_not_hold_is_shown_as_it_is_written(tmp_path: Path) -> None:
    found = version.of_bundle(version_of(tmp_path, REGO).file)
    steps = trace(found, "aegis/decision", b'{"agent":{"id":"b"}}', Explain.FAILS).steps
    assert ("failed", "known") in [(step.what, step.text) for step in steps]
    assert steps[-1].text.startswith('aegis.decision = {"decision":"deny"')


def test_notes_of_the_policy_and_the_whole_trace(tmp_path: Path) -> None:
    found = version.of_bundle(version_of(tmp_path, REGO).file)
    (note,) = trace(found, "aegis/decision", b'{"agent":{"id":"a"}}', Explain.NOTES).steps
    assert note.text == "asked by a"
    text = trace(found, "aegis/decision", b'{"agent":{"id":"a"}}', Explain.FULL).text
    assert "Enter data.aegis.known" in text
    assert "tree/" not in text


def test_a_version_that_is_not_repeatable_is_not_traced(tmp_path: Path) -> None:
    found = version.of_bundle(version_of(tmp_path, f"{DENY}\ndecision := {ALLOW} if time.now_ns() > 0").file)
    with pytest.raises(NotJudged, match=r"time.now_ns"):
        trace(found, "aegis/decision", b"{}")
