"""What passes the gateway, what does not, and what the other side gets to see."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

import pytest

from authz.up import gateway, records
from authz.up.deployment import GATEWAY
from authz.up.places import Ports
from authz.up.traffic import CHARGE, CHARGES, DECISION_ID, ESCAPED, EXPORT, RECORDS
from tests.e2e.stack import Stack

JSON = {"content-type": "application/json"}
PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
HOST = "internal-ehr.myorg.example"
GET = f"GET /patients/17/records HTTP/1.1\nhost: {HOST}\n{{token}}"
TWO_READINGS = """
    /patients/17%2frecords /patients/17%5crecords /patients/%2e%2e%2f7/records
    /patients/17/..%2frecords /patients/%252e/records /patients/%zz/records
""".split()
FORWARDED = "x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-real-ip forwarded".split()
FLOODS = {"many": "\n".join(f"x-{number}: 1" for number in range(150)), "large": "x-big: " + "b" * 40_000}


def test_the_token_stays_here_and_the_decision_id_goes_on(stack: Stack) -> None:
    with stack.client() as client:
        answer = client.get(RECORDS, headers={"x-aegis-decision-id": "mine", "x-aegis-approved": "yes"})
    assert answer.status_code == 200
    received = answer.json()["headers"]
    ours = {name: value for name, value in received.items() if name.startswith("x-aegis-")}
    assert ours == {DECISION_ID: answer.headers[DECISION_ID]}
    assert stack.record(answer)["decision"] == "allow"
    assert "x-envoy-external-address" not in received


def test_what_an_agent_says_of_where_it_sits_stays_here(stack: Stack) -> None:
    said = dict.fromkeys(FORWARDED, "203.0.113.7")
    with stack.client() as client:
        answer = client.get(RECORDS, headers=said)
    assert answer.status_code == 200
    assert set(answer.json()["headers"]) & set(said) == set()


def test_a_denial_explains_itself_to_programs_without_telling_the_rule(stack: Stack) -> None:
    with stack.client() as client:
        answer = client.post(EXPORT, content=b'{"patients":"all"}', headers=JSON)
    record = stack.record(answer)
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["decision"], problem["reason_code"]) == ("deny", "egress_violation")
    assert problem["decision_id"] == record["decision_id"] == answer.headers[DECISION_ID]
    assert record["policy_version"] == "v1.3.2"
    assert record["rule"]
    assert record["rule"] not in answer.text


def test_what_was_denied_never_reached_the_upstream(stack: Stack) -> None:
    before = len(stack.upstream.seen)
    with stack.client() as client:
        client.post(EXPORT, content=b'{"patients":"all"}', headers=JSON)
        client.get(ESCAPED)
    with stack.client("") as client:
        client.get(RECORDS)
    assert len(stack.upstream.seen) == before


def test_an_allowed_body_arrives_whole(stack: Stack) -> None:
    with stack.client("billing-agent") as client:
        answer = client.post(CHARGES, content=CHARGE, headers=JSON)
    assert answer.status_code == 200, answer.text
    assert answer.json()["body_bytes"] == len(CHARGE)
    record = stack.record(answer)
    assert (record["tool"], record["reply_after"]) == ("billing.charge", "synced")


def test_what_an_agent_claims_is_in_the_record_and_stays_here(stack: Stack) -> None:
    claims = {"x-aegis-action-id": "action-7", "x-aegis-model": "m@1", "x-aegis-prompt-hash": "none"}
    with stack.client() as client:
        answer = client.get(RECORDS, headers=claims)
    received = answer.json()["headers"]
    assert {name for name in received if name.startswith("x-aegis-")} == {DECISION_ID}
    record = stack.record(answer)
    assert record["action_id"] == "action-7"
    assert record["context"] == {
        "claimed": {"model": "m@1"},
        "claimed_ids": ["action_id"],
        "malformed": ["prompt_hash"],
    }
    assert record["obligations"] == {"capture": "hash", "retention_days": 2555}


@pytest.mark.parametrize("path", TWO_READINGS)
def test_a_path_with_two_readings_is_denied_and_recorded(stack: Stack, path: str) -> None:
    status, headers, body = stack.raw(GET.replace("/patients/17/records", path))
    assert status == 400
    assert json.loads(body)["reason_code"] == "malformed_path"
    assert stack.record_of(headers)["reason_code"] == "malformed_path"


def test_a_header_with_an_underscore_in_place_of_a_dash_is_denied_and_recorded(stack: Stack) -> None:
    status, headers, _ = stack.raw(f"{GET}\nx_aegis_agent_token: a")
    assert (status, stack.record_of(headers)["reason_code"]) == (400, "malformed_headers")


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_of_headers_is_denied_and_recorded(stack: Stack, flood: str) -> None:
    status, headers, _ = stack.raw(f"{GET}\n{flood}")
    assert (status, stack.record_of(headers)["reason_code"]) == (400, "malformed_headers")


def test_two_tokens_establish_nobody(stack: Stack) -> None:
    status, headers, _ = stack.raw(f"{GET}\n{{token}}")
    assert status in (400, 401)
    assert stack.record_of(headers)["decision"] == "deny"


def test_a_tunnel_is_denied_and_recorded(stack: Stack) -> None:
    status, headers, _ = stack.raw(f"CONNECT {HOST}:443 HTTP/1.1\nhost: {HOST}:443\n{{token}}")
    assert status == 403
    record = stack.record_of(headers)
    assert (record["decision"], record["action"], record["method"]) == ("deny", "tunnel", "CONNECT")


def test_a_websocket_is_denied_and_recorded(stack: Stack) -> None:
    upgrade = "upgrade: websocket\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
    status, headers, _ = stack.raw(f"{GET}\n{upgrade}", connection="upgrade")
    assert status == 403
    assert stack.record_of(headers)["action"] == "tunnel"


def test_a_destination_that_nobody_knows_is_recorded_too(stack: Stack) -> None:
    with stack.client() as client:
        answer = client.get("http://paste.example/new")
    assert answer.status_code == 403
    assert stack.record(answer)["endpoint"] == "http://paste.example/new"


def test_an_agents_claim_that_its_body_is_whole_is_not_believed(stack: Stack) -> None:
    """Envoy marks a body that it cut; an agent that brings the mark along must not be able to undo that."""
    with stack.client("billing-agent") as client:
        headers = JSON | {"x-envoy-auth-partial-body": "false"}
        answer = client.post(CHARGES, content=b'{"reference":"' + b"x" * 200_000 + b'"}', headers=headers)
    assert answer.status_code == 413
    assert stack.record(answer)["reason_code"] == "body_too_large"


def test_the_record_is_named_in_the_access_log(stack: Stack) -> None:
    with stack.client() as client:
        answer = client.get(RECORDS)
    record = stack.record(answer)
    stack.processes.signal("envoy", 10)  # SIGUSR1: reopen, and so flush, the access logs
    log = stack.deployment.places.logs / "envoy-access.jsonl"
    found: list[dict[str, Any]] = []

    def written() -> bool:
        found[:] = [
            line
            for line in map(json.loads, log.read_text().splitlines())
            if line["decision_id"] == record["decision_id"]
        ]
        return bool(found)

    stack.processes.wait("envoy", written, "writing the access log", 15)
    (line,) = found
    assert line["aegis"]["log"] == record["log"]
    assert int(line["aegis"]["seq"]) == record["seq"]
    assert line["path"] == "/patients/17/records"
    assert stack.issuer.token("clinical-agent").split(".")[0] not in log.read_text()


def test_a_route_names_the_tool_and_an_agent_cannot(stack: Stack) -> None:
    port = Ports.free().envoy
    tree = gateway.configure(
        GATEWAY, stack.deployment.addresses(port, "envoy-named", upstream=stack.upstream.port)
    )
    (listener,) = tree["static_resources"]["listeners"]
    named = copy.deepcopy(gateway.connection_manager(listener)["route_config"]["virtual_hosts"])
    for host in named:
        settings = {"@type": PER_ROUTE, "check_settings": {"context_extensions": {"aegis.tool": "ehr.audit"}}}
        host["routes"][-1]["typed_per_filter_config"] = {"envoy.filters.http.ext_authz": settings}
    gateway.connection_manager(listener)["route_config"]["virtual_hosts"] = named
    stack.deployment.start_envoy(tree, "envoy-named")
    _, headers, _ = stack.raw(GET, port=port)
    assert stack.record_of(headers)["tool"] == "ehr.audit"
    _, headers, _ = stack.raw(f"{GET}\naegis.tool: ehr.audit\nx-aegis-tool: ehr.audit")
    assert stack.record_of(headers)["tool"] == "ehr.read"


@pytest.mark.parametrize(
    ("head", "connection"),
    [
        (f"GET /chat HTTP/1.1\nhost: {HOST}\n{{token}}\nupgrade: telnet", "upgrade"),
        (f"GET https://{HOST}/patients/17/records HTTP/1.1\nhost: {HOST}\n{{token}}", "close"),
    ],
    ids=["an upgrade that is not offered", "an https request line in the clear"],
)
def test_what_envoy_refuses_by_itself_is_refused_and_leaves_no_record(
    stack: Stack, head: str, connection: str
) -> None:
    """The reference file says so beside the settings."""
    before = len(records.decisions(stack.ledger))
    status, headers, _ = stack.raw(head, connection=connection)
    assert (status, headers.get(DECISION_ID)) == (403, None)
    assert len(records.decisions(stack.ledger)) == before


def test_the_follower_yields_to_the_worker(stack: Stack) -> None:
    def nice(name: str) -> int:
        return os.getpriority(os.PRIO_PROCESS, stack.processes.pid(name))

    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert (nice("follower"), nice("worker")) == (max(10, ours), ours)
