"""Reading policy's result: the one form it may have, and every other one refused without quoting it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import Denied
from authz.policy.verdict import MAX_DEPTH, MAX_ITEMS, MAX_TEXT, read_verdict
from authz.values import Decision, Reason, Verdict

LEAST = {"decision": "allow", "reason_code": "ok"}
SECRET = "s3cret"


def test_the_least_result_is_a_decision_and_a_reason() -> None:
    assert read_verdict(LEAST) == Verdict(Decision.ALLOW, "ok")


def test_every_member_is_taken() -> None:
    result = {
        "decision": "approval_needed",
        "reason_code": "high_risk_2",
        "rule": "aegis.matrix",
        "rationale": ["policy-compliant"],
        "evidence": ["matrix:pay/high"],
        "score": {"risk": 7, "threshold": "0.5"},
        "obligations": {"reply_after": "synced", "mask": ["/a"], "deep": {"a": [True, 1]}},
        "classification": {"tool": "pay", "category": "money", "sensitivity": "high"},
    }
    assert read_verdict(result) == Verdict(
        decision=Decision.APPROVAL_NEEDED,
        reason_code="high_risk_2",
        rule="aegis.matrix",
        rationale=("policy-compliant",),
        evidence=("matrix:pay/high",),
        score={"risk": "7", "threshold": "0.5"},
        obligations=result["obligations"],  # type: ignore[arg-type]
        classification={"tool": "pay", "category": "money", "sensitivity": "high"},
    )


@pytest.mark.parametrize("decision", ["allow", "deny", "sanitize", "approval_needed"])
def test_policy_may_decide(decision: str) -> None:
    assert read_verdict({**LEAST, "decision": decision}).decision == decision


def nested(depth: int) -> Any:
    return 1 if depth == 0 else [nested(depth - 1)]


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        "allow",
        1,
        {},
        {"decision": "allow"},
        {"reason_code": "ok"},
        {**LEAST, SECRET: 1},
        *(
            {**LEAST, "decision": wrong}
            for wrong in ("ALLOW", "would_block", "", True, None, ["allow"], {"allow": 1})
        ),
        *(
            {**LEAST, "reason_code": wrong}
            for wrong in ("", "Ok", "1a", "a" * 65, "a-b", "a\n", "é", 1, None)
        ),
        *({**LEAST, "rule": wrong} for wrong in (1, None, SECRET * MAX_TEXT)),
        *(
            {**LEAST, name: wrong}
            for name in ("rationale", "evidence")
            for wrong in (SECRET, [1], [None], {}, ["x"] * (MAX_ITEMS + 1), ["x" * (MAX_TEXT + 1)])
        ),
        *(
            {**LEAST, "score": wrong}
            for wrong in (1, [], {"a": 0.5}, {"a": True}, {"a": None}, {"a": 1 << 53}, {"é": 1}, {"a": [1]})
        ),
        *({**LEAST, "classification": wrong} for wrong in ([], {"tool": 1}, {SECRET: "x"}, {"tool": None})),
        *(
            {**LEAST, "obligations": wrong}
            for wrong in (
                [],
                {"a": None},
                {"a": 0.5},
                {"a": [1.0]},
                {"a": {"b": None}},
                {"é": 1},
                {"a": 1 << 53},
                {"a": -(1 << 53)},
                {"a": "x" * (MAX_TEXT + 1)},
                {"a": [1] * (MAX_ITEMS + 1)},
                {"a": nested(MAX_DEPTH)},
            )
        ),
    ],
)
def test_anything_else_is_a_policy_error_that_quotes_no_value(result: Any) -> None:
    with pytest.raises(Denied) as caught:
        read_verdict(result)
    assert caught.value.reason is Reason.POLICY_ERROR
    assert SECRET not in caught.value.detail
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize("result", [True, False, {"allowed": True}, {"allowed": True, "headers": {}}])
def test_a_result_for_opa_envoy_plugin_is_refused_by_name(result: Any) -> None:
    with pytest.raises(Denied, match="opa-envoy-plugin"):
        read_verdict(result)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
members = "decision reason_code rule rationale evidence score obligations classification".split()


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(members, json_values)), st.booleans())
def test_whatever_policy_returns_is_a_verdict_an_entry_can_hold_or_a_denial(result: Any, least: bool) -> None:
    made = outcome(result | LEAST if least else result)
    if isinstance(made, Denied):
        assert made.reason is Reason.POLICY_ERROR
    else:
        holds_canonically([made.obligations, made.score, made.classification, list(made.evidence)])
        assert len(orjson.dumps(made.rationale)) < 65536


def outcome(result: Any) -> Verdict | Denied:
    try:
        return read_verdict(result)
    except Denied as denied:
        return denied


def holds_canonically(value: Any) -> None:
    assert value is not None
    assert not isinstance(value, float)
    if isinstance(value, int):
        assert abs(value) < 1 << 53
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        holds_canonically(item)
    if isinstance(value, dict):
        assert all(name.isascii() for name in value)
