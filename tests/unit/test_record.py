"""The record of a decision: complete, without secrets, with hashes that outsiders can compute."""

import hashlib
import json

import rfc8785

from authz.controls.rule import rule
from authz.record import NO_PARAMETERS, decision_members, endpoint, params_hash
from authz.testing import a_request
from authz.values import UNKNOWN, Action, Assurance, Claims, Decision, Malformed, Reason, Subject, Verdict

DECISION_ID = "019b7690-0001-7000-8000-00000000abcd"
ALWAYS = {
    "decision_id",
    "agent_id",
    "tool",
    "params_hash",
    "policy_version",
    "decision",
    "reason_code",
    "trace_id",
}


def members(request: object, subject: Subject = UNKNOWN, **verdict: object) -> dict[str, object]:
    said = Verdict(Decision.DENY, "malformed_path", **verdict)  # type: ignore[arg-type]
    return decision_members(DECISION_ID, request, subject, rule(request, said), "bounded")  # type: ignore[arg-type]


def posting(body: bytes, arguments: object, query: str = "") -> object:
    action = Action(kind="http", tool="", method="POST", resource="/", arguments=arguments)
    return a_request(body=body, query=query, action=action)


def test_the_schema_s_members_are_there_even_for_what_could_not_be_read() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    for request in (a_request(), Malformed(Reason.MALFORMED_PATH, "why", trace_id=trace)):
        assert set(members(request)) >= ALWAYS


def test_span_and_record_name_each_other() -> None:
    assert members(a_request())["span_id"] == "800000000000abcd"


def test_the_parameters_hash_is_what_an_outsider_computes() -> None:
    value = {"count": 3, "name": "é"}
    request = posting(json.dumps(value).encode(), value, query="a=1&a=2")
    expected = rfc8785.dumps({"body": value, "query": {"a": ["1", "2"]}})
    assert params_hash(request) == (hashlib.sha256(expected).hexdigest(), [])  # type: ignore[arg-type]


def test_floats_and_foreign_names_hash_as_rfc_8785_says() -> None:
    value = {"€": 1.0, "a": 1e21, "\U0001f600": [0.1]}
    request = posting(b"{}", value)
    assert params_hash(request)[0] == hashlib.sha256(rfc8785.dumps({"body": value})).hexdigest()  # type: ignore[arg-type]


def test_a_secret_changes_nothing_in_the_hash_and_is_named() -> None:
    one, two = (posting(b"{}", {"user": "u", "password": word}) for word in ("first", "second"))
    assert params_hash(one) == params_hash(two)  # type: ignore[arg-type]
    assert members(one)["redacted"] == ["/body/password"]


def test_an_opaque_body_counts_as_its_own_hash_and_no_parameters_as_an_empty_object() -> None:
    from authz.values import MISSING

    body = b"\x00\x01"
    expected = rfc8785.dumps({"body": hashlib.sha256(body).hexdigest()})
    assert params_hash(posting(body, MISSING))[0] == hashlib.sha256(expected).hexdigest()  # type: ignore[arg-type]
    assert params_hash(a_request())[0] == NO_PARAMETERS


def test_the_endpoint_names_a_port_only_where_it_is_not_the_scheme_s_and_never_a_query() -> None:
    assert endpoint(a_request(scheme="https", port=443, query="q=1")) == "https://api.example/v1"
    assert endpoint(a_request(scheme="http", port=8080)) == "http://api.example:8080/v1"
    assert endpoint(Malformed(Reason.MALFORMED_HOST, "")) == "unknown"


def test_who_called_on_whose_behalf_is_recorded() -> None:
    subject = Subject("inner", Assurance.JWT, chain=("middle", "outer"), session_id="s1")
    recorded = members(a_request(), subject)
    assert recorded["parent_agent_id"] == "middle"
    assert recorded["agent_chain"] == ("middle", "outer")
    assert recorded["session_id"] == "s1"


def test_policy_s_own_name_for_the_action_wins() -> None:
    named = members(a_request(), classification={"tool": "ehr.export", "category": "export"})
    assert (named["tool"], named["category"]) == ("ehr.export", "export")
    assert members(a_request())["tool"] == "http"


def test_no_text_that_an_agent_chose_can_fill_an_entry() -> None:
    recorded = members(a_request(request_id="r" * 30_000))
    assert recorded["request_id"] == "sha256:" + hashlib.sha256(b"r" * 30_000).hexdigest()
    deep = {"a" * 20_000: {"password": "p"}}
    assert len(members(posting(b"{}", deep))["redacted"][0]) == 71  # type: ignore[index]


def test_what_the_caller_claims_is_recorded_as_claimed() -> None:
    said = {"action_id": "a-7", "model": "m@1", "parent_decision_id": DECISION_ID, "correlation_id": "x"}
    recorded = members(a_request(claims=Claims(said, ("branch",))))
    assert (recorded["action_id"], recorded["parent_decision_id"]) == ("a-7", DECISION_ID)
    assert recorded["context"] == {
        "claimed": {"model": "m@1", "correlation_id": "x"},
        "claimed_ids": ["action_id", "parent_decision_id"],
        "malformed": ("branch",),
    }


def test_without_claims_there_is_no_context() -> None:
    assert not {"context", "action_id", "step_id"} & members(a_request()).keys()
