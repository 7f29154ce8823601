"""A verdict is compared with its record after the controls that keep no state, and by digests."""

import hashlib
from typing import Any

from msgspec.structs import replace

from authz import canonical
from authz.controls.rule import NOT_UTF8
from authz.errors import Denied
from authz.replay.compare import Outcome, differences, outcome, recorded_outcome
from authz.replay.judges import Judged
from authz.values import Decision, PluginAnswer, Reason, Verdict

ALLOW = Verdict(Decision.ALLOW, "permitted", "reading", evidence=("a",), obligations={"capture": "hash"})
RECORD: dict[str, Any] = {
    "action": "http",
    "mode": "enforce",
    "decision": "allow",
    "reason_code": "permitted",
    "rule": "reading",
    "evidence": ["a"],
    "obligations": {"capture": "hash"},
}


def differing(members: dict[str, Any], verdict: Verdict) -> list[str]:
    return [each.member for each in differences(members, Judged(verdict))]


def test_a_verdict_that_says_the_same_does_not_differ() -> None:
    assert differing(RECORD, ALLOW) == []


def test_each_member_that_differs_is_named() -> None:
    other = Verdict(
        Decision.DENY,
        "too_much",
        "limits",
        rationale=("r",),
        score={"risk": "0.7"},
        classification={"tool": "x"},
    )
    assert differing(RECORD, other) == (
        "decision reason_code rule rationale evidence score obligations tool".split()
    )


def test_a_denial_in_shadow_is_compared_by_what_policy_decided() -> None:
    shadow = RECORD | {
        "mode": "shadow",
        "decision": "would_block",
        "policy_decision": "deny",
        "reason_code": "too_much",
    }
    denied = Verdict(Decision.DENY, "too_much", "reading", evidence=("a",), obligations={"capture": "hash"})
    assert recorded_outcome(shadow) == Outcome("deny", "too_much", "reading")
    assert differing(shadow, denied) == []
    assert differing(shadow, ALLOW) == ["decision", "reason_code"]
    uncleaned = shadow | {"policy_decision": "sanitize"}
    assert differing(uncleaned, replace(denied, decision=Decision.SANITIZE)) == []


def test_an_allow_whose_condition_cannot_be_met_is_the_denial_that_it_was() -> None:
    verdict = Verdict(Decision.ALLOW, "permitted", "r", obligations={"unheard_of": True})
    assert outcome(Judged(verdict), {"action": "http"}) == Outcome("deny", "control_unavailable", "r")
    tunnel = outcome(Judged(Verdict(Decision.ALLOW, "permitted", "r")), {"action": "tunnel"})
    assert tunnel == Outcome("deny", "tunnel_not_permitted", "r")
    assert outcome(Judged(Verdict(Decision.SANITIZE, "clean", "r")), {}).decision == "deny"


PLUGIN_S = Verdict(Decision.ALLOW, "policy_allowed", "envoy/allow", answer=PluginAnswer(replaced=True))
PLUGIN_S_RECORD = {
    "action": "tunnel",
    "mode": "enforce",
    "decision": "allow",
    "reason_code": "policy_allowed",
    "rule": "envoy/allow",
}


def test_an_allow_of_the_plugin_s_kind_is_one_for_tunnels_too() -> None:
    assert outcome(Judged(PLUGIN_S), PLUGIN_S_RECORD).decision == "allow"
    assert differing(PLUGIN_S_RECORD, PLUGIN_S) == []


def test_an_allow_that_was_denied_for_bytes_that_are_no_text_is_that_denial_again() -> None:
    denied = PLUGIN_S_RECORD | {"decision": "deny", "reason_code": "policy_error", "rationale": [NOT_UTF8]}
    assert differing(denied, PLUGIN_S) == []
    lie = replace(PLUGIN_S, answer=PluginAnswer())
    assert differing(denied, lie) == ["decision", "reason_code", "rationale"]


def test_no_usable_answer_is_the_denial_that_a_worker_would_record() -> None:
    judged = Judged(fault=Denied(Reason.POLICY_ERROR, "x"))
    assert outcome(judged, {"action": "http"}) == Outcome("deny", "policy_error", "authorizer")


def test_what_gave_way_to_its_digest_is_compared_by_that() -> None:
    digest = hashlib.sha256(canonical.encode(["a"])).hexdigest()
    assert differing(RECORD | {"evidence": f"sha256:{digest}"}, ALLOW) == []
    assert differing(RECORD | {"evidence": f"sha256:{'0' * 64}"}, ALLOW) == ["evidence"]
