"""A Ruling can turn an allow into a denial, never the reverse."""

from itertools import product

import pytest

from authz.controls.rule import rule
from authz.testing import a_request
from authz.values import Action, Decision, Malformed, Reason, Verdict


def verdict(decision: Decision, **members: object) -> Verdict:
    return Verdict(decision, "code", engine="opa", policy_version="v1", **members)  # type: ignore[arg-type]


def test_only_an_allow_without_open_conditions_is_allowed() -> None:
    for decision, obligations in product(Decision, ({}, {"reply_after": "synced"}, {"sanitize": True})):
        ruling = rule(a_request(), verdict(decision, obligations=obligations))
        assert ruling.allowed == (decision is Decision.ALLOW and "sanitize" not in obligations)


def test_an_obligation_that_cannot_be_carried_out_denies() -> None:
    for obligations in ({"budget": 5}, {"reply_after": "someday"}, {"reply_after": "synced", "x": 1}):
        ruling = rule(a_request(), verdict(Decision.ALLOW, obligations=obligations))
        assert (ruling.decision, ruling.reason_code) == (Decision.DENY, "control_unavailable")
        assert ruling.http_status == 503


@pytest.mark.parametrize(
    "obligations",
    [
        {"capture": "everything"},
        {"capture": ["hash"]},
        {"retention_days": 0},
        {"retention_days": True},
        {"retention_days": "30"},
        {"retention_days": 36_501},
        {"capture": "hash", "retention_days": 30, "session_labels": ["phi"]},
        {"session_refuses": ["phi"]},
        {"synced": "reply_after"},
    ],
)
def test_what_is_nearly_a_known_obligation_denies(obligations: dict[str, object]) -> None:
    ruling = rule(a_request(), verdict(Decision.ALLOW, obligations=obligations))
    assert (ruling.decision, ruling.reason_code) == (Decision.DENY, "control_unavailable")


@pytest.mark.parametrize("days", [1, 2555, 36_500])
@pytest.mark.parametrize("capture", ["hash", "redacted"])
def test_how_much_and_how_long_is_kept_goes_with_the_allow(days: int, capture: str) -> None:
    obligations = {"capture": capture, "retention_days": days}
    assert rule(a_request(), verdict(Decision.ALLOW, obligations=obligations)).allowed


def test_sanitize_is_denied_while_nothing_can_clean() -> None:
    ruling = rule(a_request(), verdict(Decision.SANITIZE))
    assert (ruling.decision, ruling.reason_code) == (Decision.DENY, "control_unavailable")


def test_high_risk_waits_for_the_sync() -> None:
    assert rule(a_request(), verdict(Decision.ALLOW, obligations={"reply_after": "synced"})).synced
    assert not rule(a_request(), verdict(Decision.ALLOW)).synced


def test_a_tunnel_passes_only_when_policy_says_so_in_as_many_words() -> None:
    tunnel = a_request(action=Action(kind="tunnel", tool="", method="CONNECT", resource=""))
    assert rule(tunnel, verdict(Decision.ALLOW)).reason_code == "tunnel_not_permitted"
    assert rule(tunnel, verdict(Decision.ALLOW, obligations={"tunnel": "opaque"})).allowed


def test_a_malformed_request_is_never_allowed_whatever_the_verdict() -> None:
    assert not rule(Malformed(Reason.MALFORMED_PATH, ""), verdict(Decision.ALLOW)).allowed


@pytest.mark.parametrize("reason", list(Reason))
def test_our_own_reasons_choose_the_status_and_a_policy_cannot(reason: Reason) -> None:
    assert rule(a_request(), Verdict(Decision.DENY, reason)).http_status == reason.http_status
    assert rule(a_request(), Verdict(Decision.DENY, reason, engine="opa")).http_status == 403
