"""What became of a request comes back from the real Envoy and stands in the ledger beside the decision."""

from __future__ import annotations

import httpx

from authz.up import records
from authz.up.traffic import CHARGE, CHARGES, DECISION_ID, EXPORT, RECORDS
from tests.e2e.stack import Stack

JSON = {"content-type": "application/json"}
HOST = "internal-ehr.myorg.example"
Entry = dict[str, object]


def outcomes(stack: Stack) -> list[Entry]:
    """Every outcome on disk."""
    return [
        entry
        for epoch in records.epochs(stack.ledger)
        for entry in records.entries(epoch)
        if entry["kind"] == "outcome"
    ]


def outcome_of(stack: Stack, answer: httpx.Response) -> Entry:
    """The one outcome of the decision that `answer` names, once it is there."""
    found: list[Entry] = []

    def there() -> bool:
        found[:] = [
            each for each in outcomes(stack) if each.get("decision_id") == answer.headers[DECISION_ID]
        ]
        return bool(found)

    stack.processes.wait("envoy", there, "sending the outcome", 15)
    (one,) = found
    return one


def test_what_the_upstream_answered_names_the_record_of_the_decision(stack: Stack) -> None:
    with stack.client("billing-agent") as client:
        answer = client.post(CHARGES, content=CHARGE, headers=JSON | {"x-correlation-id": "order-17"})
    outcome, record = outcome_of(stack, answer), stack.record(answer)
    assert (outcome["forwarded"], outcome["status"], outcome["details"]) == (True, 200, "via_upstream")
    assert (outcome["request_bytes"], outcome["response_bytes"]) == (len(CHARGE), len(answer.content))
    assert outcome["upstream"] == f"127.0.0.1:{stack.upstream.port}"
    assert (outcome["decision_log"], outcome["decision_seq"]) == (record["log"], record["seq"])
    assert outcome["request_id"] == record["request_id"]
    assert outcome["correlation"] == {"request": {"x-correlation-id": "order-17"}}
    assert 0 < outcome["upstream_first_us"] <= outcome["duration_us"]  # type: ignore[operator]
    following = next(entry for entry in entries(stack) if entry["seq"] == record["seq"] + 1)
    assert following["previous_entry_hash"] == outcome["decision_entry_hash"]
    assert (outcome["gateway"], outcome["cluster"]) == ("egress", "sample")


def entries(stack: Stack) -> list[Entry]:
    return [entry for epoch in records.epochs(stack.ledger) for entry in records.entries(epoch)]


def test_a_denial_has_an_outcome_too_and_it_says_that_nothing_went_out(stack: Stack) -> None:
    with stack.client() as client:
        answer = client.post(EXPORT, content=b'{"patients":"all"}', headers=JSON)
    outcome = outcome_of(stack, answer)
    assert (outcome["forwarded"], outcome["status"]) == (False, 403)
    assert (outcome["flags"], outcome["details"]) == (["UAEX"], "ext_authz_denied")
    assert "upstream" not in outcome


def test_no_credential_and_no_query_reaches_the_outcome(stack: Stack) -> None:
    secrets = {
        "authorization": "Bearer geheim-1",
        "x-api-key": "geheim-2",
        "cookie": "sid=geheim-3",
        "x-correlation-id": "geheim 4, not an id",
    }
    with stack.client() as client:
        answer = client.get(f"{RECORDS}?token=geheim-5", headers=secrets)
    outcome = outcome_of(stack, answer)
    text = repr(outcome)
    assert "geheim" not in text
    assert stack.issuer.token("clinical-agent").split(".")[0] not in text
    assert outcome["redacted"] == ["/correlation/request/x-correlation-id"]


def test_what_envoy_refuses_by_itself_has_an_outcome_and_no_decision(stack: Stack) -> None:
    head = f"GET /audio/7?key=geheim HTTP/1.1\nhost: {HOST}\n{{token}}\nupgrade: telnet"
    assert stack.raw(head, connection="upgrade")[0] == 403
    found: list[Entry] = []

    def there() -> bool:
        found[:] = [each for each in outcomes(stack) if each.get("endpoint") == f"http://{HOST}/audio/7"]
        return bool(found)

    stack.processes.wait("envoy", there, "sending the outcome", 15)
    (outcome,) = found
    assert "decision_id" not in outcome
    assert (outcome["method"], outcome["status"], outcome["details"]) == ("GET", 403, "upgrade_failed")
    assert outcome["forwarded"] is False
    assert "geheim" not in repr(outcome)
