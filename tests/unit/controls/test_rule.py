"""A Ruling can turn an allow into a denial; the reverse only in shadow, and never a hard one."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.controls.rule import rule
from authz.controls.shadow import Shadow
from authz.testing import a_request
from authz.values import (
    Action,
    Assurance,
    Decision,
    Malformed,
    Mcp,
    Reason,
    Request,
    ShadowScope,
    Subject,
    Verdict,
)

AGENT = Subject("a", Assurance.JWT)
ALL = ShadowScope(all=True)


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


def in_shadow(scope: ShadowScope = ALL) -> Shadow:
    shadow = Shadow()
    shadow.activated("none", "none", ShadowScope())  # a verdict that no engine gave has this digest
    shadow.configure(scope, ())
    return shadow


@pytest.mark.parametrize("decision", [Decision.DENY, Decision.SANITIZE, Decision.APPROVAL_NEEDED])
@pytest.mark.parametrize("obligations", [{}, {"reply_after": "synced", "capture": "redacted"}])
def test_whatever_policy_does_not_allow_goes_on_in_shadow(
    decision: Decision, obligations: dict[str, object]
) -> None:
    said = verdict(decision, rule="bulk-export", obligations=obligations)
    ruling = rule(a_request(), said, AGENT, in_shadow())
    assert (ruling.decision, ruling.mode, ruling.http_status) == (Decision.WOULD_BLOCK, "shadow", 200)
    assert (ruling.allowed, ruling.reason_code, ruling.verdict) == (True, "code", said)
    assert ruling.synced is bool(obligations)


def test_in_shadow_is_what_was_put_there() -> None:
    shadow = in_shadow(ShadowScope(rules=("bulk-export",)))
    assert rule(a_request(), verdict(Decision.DENY, rule="bulk-export"), AGENT, shadow).allowed
    assert not rule(a_request(), verdict(Decision.DENY, rule="agent-tool"), AGENT, shadow).allowed


FAULTY = Mcp("", fault=Reason.MALFORMED_MCP_BATCH)
REQUESTS = st.sampled_from(
    [
        a_request(),
        a_request(mcp=Mcp("request", "tools/call", rpc_id=1)),
        a_request(mcp=FAULTY),
        a_request(action=Action("tunnel", "", "CONNECT", "")),
        Malformed(Reason.MALFORMED_BODY, ""),
    ]
)
VERDICTS = st.builds(
    Verdict,
    decision=st.sampled_from(list(Decision)),
    reason_code=st.one_of(st.sampled_from([*map(str, Reason)]), st.just("egress_violation")),
    rule=st.sampled_from(["", "bulk-export", "agent-tool"]),
    obligations=st.sampled_from(
        [{}, {"reply_after": "synced"}, {"tunnel": "opaque"}, {"budget": 1}, {"session_labels": ["phi"]}]
    ),
    engine=st.sampled_from(["opa", "opa", "wasm", "none"]),
)
SCOPES = st.builds(
    ShadowScope,
    all=st.booleans(),
    agents=st.sampled_from([(), ("a",), ("b",)]),
    rules=st.sampled_from([(), ("bulk-export",)]),
)


def usable(said: Verdict) -> bool:
    """What no engine gave is a denial for one of our own reasons."""
    ours = said.reason_code in list(Reason)
    return said.engine != "none" or (ours and said.decision is Decision.DENY)


def could_be_allowed(request: Request | Malformed, said: Verdict) -> bool:
    allow = Verdict(Decision.ALLOW, "x", obligations=said.obligations, engine="opa")
    return rule(request, allow).allowed and (request.mcp is None or request.mcp.fault is None)


@given(REQUESTS, VERDICTS.filter(usable), SCOPES)
def test_shadow_changes_no_allow_and_no_hard_denial(
    request: Request | Malformed, said: Verdict, scope: ShadowScope
) -> None:
    enforced = rule(request, said)
    ruled = rule(request, said, AGENT, in_shadow(scope))
    soft = (
        said.decision not in (Decision.ALLOW, Decision.WOULD_BLOCK)
        and said.engine != "none"
        and said.reason_code not in list(Reason)
        and could_be_allowed(request, said)
    )
    covered = scope.all or said.rule in scope.rules or "a" in scope.agents
    if soft and covered:
        assert (ruled.decision, ruled.mode) == (Decision.WOULD_BLOCK, "shadow")
    else:
        assert ruled == enforced
    assert ruled.allowed == (enforced.allowed or ruled.decision is Decision.WOULD_BLOCK)
