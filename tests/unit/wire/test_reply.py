"""What Envoy is told: an allow only from a Receipt that allows, and status 0 only with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from authz._pb.aegis_ext_authz_pb2 import CheckResponse
from authz.protocols.claims import HEADERS
from authz.testing import a_request
from authz.values import SHADOW, Decision, Malformed, Reason, Receipt, Ruling, Verdict
from authz.wire.reply import MAX_FORMS, Replies, refusal

ID = "019b7690-0001-7000-8000-00000000abcd"
LOG = "aegis.local/worker-0/20260101T000000Z-0011223344556677"
HASH = "ab" * 32
NOT_ALLOWED = [decision for decision in Decision if decision is not Decision.ALLOW]


def receipt(decision: Decision = Decision.ALLOW, reason: str = "permitted", status: int = 200) -> Receipt:
    verdict = Verdict(decision, reason, rule="the_rule", rationale=("because", "of this"), engine="opa")
    return Receipt(LOG, 7, HASH, ID, Ruling(decision, reason, status, verdict, synced=False))


def denial(reason: str = "not_permitted", status: int = 403) -> Receipt:
    return receipt(Decision.DENY, reason, status)


def replies(*, full: bool = False, credentials: tuple[str, ...] = ()) -> Replies:
    return Replies(full=full, credentials=credentials)


def answer(
    given_receipt: Receipt, request: Any = None, *, full: bool = False, credentials: tuple[str, ...] = ()
) -> CheckResponse:
    made = replies(full=full, credentials=credentials).reply(given_receipt, request or a_request())
    return CheckResponse.FromString(made)


def headers(options: Any) -> dict[str, str]:
    return {option.header.key: option.header.value for option in options}


def body(response: CheckResponse) -> Any:
    return json.loads(response.denied_response.body)


def test_an_allow_is_status_0_with_an_ok_response() -> None:
    response = answer(receipt())
    assert (response.status.code, response.WhichOneof("http_response")) == (0, "ok_response")


def test_the_decision_id_goes_to_the_upstream_and_to_the_agent() -> None:
    allowed, denied = answer(receipt()), answer(denial())
    assert headers(allowed.ok_response.headers) == {"x-aegis-decision-id": ID}
    assert headers(allowed.ok_response.response_headers_to_add) == {"x-aegis-decision-id": ID}
    assert headers(denied.denied_response.headers)["x-aegis-decision-id"] == ID


def test_envoy_learns_where_the_record_is() -> None:
    place = {"decision_id": ID, "log": LOG, "seq": 7.0, "entry_hash": HASH}
    for given_receipt, said in (
        (receipt(), {"decision": "allow", "reason_code": "permitted"}),
        (denial(), {"decision": "deny", "reason_code": "not_permitted"}),
    ):
        assert MessageToDict(answer(given_receipt).dynamic_metadata) == place | said


def test_the_usual_allow_names_each_record_anew() -> None:
    """It is filled into a form; a request with a header of ours goes the long way, and must not differ."""
    one, long_way = replies(), a_request(headers={"x-aegis-decision": "allow"})
    for seq, entry_hash in ((0, "00" * 32), (1, HASH), (2**53, "ff" * 32), (65_536, "0123456789abcdef" * 4)):
        decision_id = f"{seq:08x}"[-8:] + ID[8:]
        place = replace(receipt(), seq=seq, entry_hash=entry_hash, decision_id=decision_id)
        usual = CheckResponse.FromString(one.reply(place, a_request()))
        longer = CheckResponse.FromString(one.reply(place, long_way))
        longer.ok_response.headers_to_remove.remove("x-aegis-decision")
        assert usual == longer
        assert MessageToDict(usual.dynamic_metadata)["seq"] == seq


def test_claims_are_all_removed_by_one_form_and_other_names_beside_them_by_their_own() -> None:
    one, claims = replies(), {"x-aegis-model": "m", "x-aegis-step-id": "1"}
    for request, more in (
        (a_request(headers=claims), set(HEADERS)),
        (a_request(headers={"x-aegis-branch": "b"}), set(HEADERS)),
        (a_request(headers=claims | {"x-aegis-approved": "yes"}), {*claims, "x-aegis-approved"}),
        (a_request(), set()),
    ):
        removed = CheckResponse.FromString(one.reply(receipt(), request)).ok_response.headers_to_remove
        assert sorted(removed) == sorted({"proxy-authorization", "x-aegis-agent-token"} | more)
    assert len(one._forms) == 2


def test_forms_are_bounded_and_beyond_that_made_each_time() -> None:
    one = replies()
    for number in range(MAX_FORMS + 3):
        made = CheckResponse.FromString(one.reply(receipt(reason=f"reason_{number}"), a_request()))
        assert MessageToDict(made.dynamic_metadata)["reason_code"] == f"reason_{number}"
    assert len(one._forms) == MAX_FORMS


def test_credentials_and_our_names_do_not_go_upstream() -> None:
    request = a_request(headers={"x-aegis-agent-token": "t", "x-aegis-decision": "allow", "accept": "*/*"})
    removed = list(answer(receipt(), request).ok_response.headers_to_remove)
    assert sorted(removed) == ["proxy-authorization", "x-aegis-agent-token", "x-aegis-decision"]
    removed = list(answer(receipt(), credentials=("authorization",)).ok_response.headers_to_remove)
    assert sorted(removed) == ["authorization", "proxy-authorization", "x-aegis-agent-token"]


def test_an_agents_own_decision_id_is_overwritten_not_removed() -> None:
    """Envoy removes after it has set: removed, ours would not arrive either."""
    response = answer(receipt(), a_request(headers={"x-aegis-decision-id": "forged"}))
    assert headers(response.ok_response.headers) == {"x-aegis-decision-id": ID}
    assert "x-aegis-decision-id" not in response.ok_response.headers_to_remove


@pytest.mark.parametrize(
    ("status", "code"), [(400, 7), (401, 16), (403, 7), (413, 7), (503, 14)], ids=lambda value: str(value)
)
def test_a_denial_is_a_problem_with_its_status(status: int, code: int) -> None:
    response = answer(denial(status=status))
    assert (response.status.code, response.WhichOneof("http_response")) == (code, "denied_response")
    assert response.denied_response.status.code == status
    problem = body(response)
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert problem["title"]
    assert problem["detail"]
    assert (problem["decision"], problem["reason_code"], problem["decision_id"]) == (
        "deny",
        "not_permitted",
        ID,
    )
    said = headers(response.denied_response.headers)
    assert (said["content-type"], said["cache-control"]) == ("application/problem+json", "no-store")
    assert ("retry-after" in said) is (status == 503)
    assert ("www-authenticate" in said) is (status == 401)


def test_every_status_of_our_own_reasons_has_its_problem() -> None:
    for reason in Reason:
        response = answer(denial(reason, reason.http_status))
        assert response.denied_response.status.code == reason.http_status


@pytest.mark.parametrize("full", [False, True])
def test_rule_and_rationale_are_told_only_where_asked_for(full: bool) -> None:
    problem = body(answer(denial(), full=full))
    assert (problem.get("rule"), problem.get("rationale")) == (
        ("the_rule", ["because", "of this"]) if full else (None, None)
    )


@settings(deadline=None)
@given(st.sampled_from(NOT_ALLOWED), st.one_of(st.integers(0, 999), st.sampled_from([200, 204, 301, 418])))
def test_nothing_but_an_allow_is_status_0_whatever_its_http_status(decision: Decision, status: int) -> None:
    response = answer(receipt(decision, "x", status))
    assert response.status.code != 0
    assert response.WhichOneof("http_response") == "denied_response"
    assert 400 <= response.denied_response.status.code < 600


def test_an_allow_of_what_could_not_be_read_does_not_exist() -> None:
    response = answer(receipt(), Malformed(Reason.MALFORMED_PATH, ""))
    assert (response.status.code, response.denied_response.status.code) == (7, 403)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_refusal_is_a_denial_that_names_its_reason_and_no_record(reason: Reason) -> None:
    response = CheckResponse.FromString(refusal(reason))
    assert (response.status.code != 0, response.WhichOneof("http_response")) == (True, "denied_response")
    assert response.denied_response.status.code == reason.http_status
    assert body(response)["reason_code"] == reason
    assert "decision_id" not in body(response)
    assert MessageToDict(response.dynamic_metadata) == {"decision": "deny", "reason_code": reason}


def test_an_overload_says_when_to_try_again() -> None:
    response = CheckResponse.FromString(refusal(Reason.OVERLOADED))
    assert headers(response.denied_response.headers)["retry-after"] == "1"


@settings(deadline=None)
@given(
    st.text(max_size=40),
    st.text(max_size=40),
    st.lists(st.text(max_size=40), max_size=3).map(tuple),
    st.booleans(),
)
def test_what_policy_says_stays_in_the_body(
    reason: str, rule: str, rationale: tuple[str, ...], full: bool
) -> None:
    """Reason codes come from policies: none may become a header."""
    verdict = Verdict(Decision.DENY, reason, rule=rule, rationale=rationale, engine="opa")
    given_receipt = Receipt(LOG, 7, HASH, ID, Ruling(Decision.DENY, reason, 403, verdict, synced=False))
    response = answer(given_receipt, full=full)
    assert body(response)["reason_code"] == reason
    assert headers(response.denied_response.headers) == {
        "content-type": "application/problem+json",
        "cache-control": "no-store",
        "x-aegis-decision-id": ID,
    }


def test_what_went_on_in_shadow_is_answered_as_an_allow_and_named_as_what_it_is() -> None:
    """The answers of an allow and of a denial in shadow with one reason are two forms."""
    made = replies(credentials=("x-api-key",))
    verdict = Verdict(Decision.DENY, "permitted", rule="bulk-export", engine="opa")
    ruling = Ruling(Decision.WOULD_BLOCK, "permitted", 200, verdict, synced=False, mode=SHADOW)
    for _ in range(2):
        allowed = CheckResponse.FromString(made.reply(receipt(), a_request()))
        shadowed = CheckResponse.FromString(made.reply(replace(receipt(), ruling=ruling), a_request()))
        assert (shadowed.status.code, shadowed.WhichOneof("http_response")) == (0, "ok_response")
        assert shadowed.ok_response == allowed.ok_response  # the same headers go, none is added
        assert shadowed.dynamic_metadata.fields["decision"].string_value == "would_block"
        assert allowed.dynamic_metadata.fields["decision"].string_value == "allow"
