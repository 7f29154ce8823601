"""Of the facts only what may be kept is kept, and what is missing is named."""

import json
from typing import Any

import pytest

from authz.config_evidence import Redaction as Rules
from authz.controls.facts import keepable
from authz.controls.redaction import MASK, PLAIN, Redaction

HTTP = {
    "path": "/v1/patients?name=Miller",
    "query": "name=Miller",
    "body": '{"ssn": 1}',
    "rawBody": "eyJzc24iOiAxfQ==",
    "method": "POST",
    "headers": {
        ":path": "/v1/patients?name=Miller",
        ":authority": "api.example",
        "authorization": "Bearer abc",
        "x-api-key": "k",
        "x-patient": "Miller",
        "accept": "*/*",
        "referer": "https://a.example/x?name=Miller",
    },
}
FACTS = {
    "attributes": {"request": {"http": HTTP}, "source": {"address": "10.0.0.1"}},
    "parsed_body": {"patient": {"name": "Miller", "age": 7}, "password": "pw"},
    "parsed_query": {"name": ["Miller"]},
    "action": {"arguments": {"patient": {"name": "Miller"}}, "kind": "http"},
    "agent": {"claims": {"sub": "a", "token": "t"}},
    "now": {"hour": 3},
}
RULES = Redaction(Rules(pointers=["/body/patient/name", "/query/name"], headers=["x-patient"]))  # type: ignore[arg-type]


def kept(facts: dict[str, Any], **how: Any) -> tuple[dict[str, Any], set[str]]:
    rules = how.pop("rules", PLAIN)
    shown, masked = keepable(json.dumps(facts).encode(), rules, **({"mcp": False, "payload": False} | how))
    assert len(masked) == len(set(masked))
    return shown, set(masked)


def at(shown: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        shown = shown[int(part)] if isinstance(shown, list) else shown[part]
    return shown


@pytest.mark.parametrize("payload", [False, True])
def test_no_credential_is_kept_and_everything_masked_is_named(payload: bool) -> None:
    shown, masked = kept(FACTS, payload=payload, rules=RULES)
    text = json.dumps(shown)
    assert not any(secret in text for secret in ("Bearer", '"k"', '"pw"', '"t"', "ssn", "eyJzc24"))
    assert "Miller" not in text
    assert all(MASK in at(shown, pointer) for pointer in masked)
    http = "/attributes/request/http"
    assert masked >= {f"{http}/{name}" for name in ("path", "query", "body", "rawBody", "headers/:path")}
    assert masked >= {f"{http}/headers/{name}" for name in ("authorization", "x-api-key", "x-patient")}
    assert "/agent/claims/token" in masked


def test_without_permission_nothing_of_a_payload_is_kept() -> None:
    shown, masked = kept(FACTS)
    assert (shown["parsed_body"], shown["parsed_query"], shown["action"]["arguments"]) == (MASK, MASK, MASK)
    assert masked >= {"/parsed_body", "/parsed_query", "/action/arguments"}
    assert (shown["action"]["kind"], shown["now"]) == ("http", {"hour": 3})
    headers = shown["attributes"]["request"]["http"]["headers"]
    assert headers["referer"] == f"https://a.example/x?{MASK}"
    assert (headers["accept"], headers[":authority"]) == ("*/*", "api.example")


def test_with_it_the_rules_for_parameters_hold() -> None:
    shown, masked = kept(FACTS, payload=True, rules=RULES)
    assert shown["parsed_body"] == {"patient": {"name": MASK, "age": 7}, "password": MASK}
    assert shown["parsed_query"] == {"name": MASK}
    assert shown["action"]["arguments"] == {"patient": {"name": MASK}}
    assert masked >= {
        "/parsed_body/patient/name",
        "/parsed_body/password",
        "/parsed_query/name",
        "/action/arguments/patient/name",
    }


def test_of_an_mcp_message_the_arguments_are_kept_and_never_the_message() -> None:
    facts = {
        "parsed_body": {"params": {"arguments": {"a": "x"}}},
        "action": {"arguments": {"a": "x", "b": 1}},
    }
    rules = Redaction(Rules(pointers=["/a"]))  # type: ignore[arg-type]
    shown, masked = kept(facts, payload=True, mcp=True, rules=rules)
    assert shown == {"parsed_body": MASK, "action": {"arguments": {"a": MASK, "b": 1}}}
    assert masked == {"/parsed_body", "/action/arguments/a"}


def test_raw_headers_are_kept_as_far_as_they_can_be_read() -> None:
    rows = [
        {"key": "Accept", "value": "x"},
        {"key": "Cookie", "value": "secret"},
        {"key": "x", "rawValue": "secret"},
        {"key": ":path", "value": "/a?secret"},
    ]
    shown, masked = kept({"attributes": {"request": {"http": {"headerMap": {"headers": rows}}}}})
    http = shown["attributes"]["request"]["http"]
    assert http["headerMap"]["headers"] == [
        {"key": "Accept", "value": "x"},
        {"key": "Cookie", "value": MASK},
        {"key": "x", "value": MASK},
        {"key": ":path", "value": f"/a?{MASK}"},
    ]
    assert masked == {
        f"/attributes/request/http/headerMap/headers/{place}" for place in ("1/value", "2", "3/value")
    }
    shown, masked = kept(
        {"attributes": {"request": {"http": {"headerMap": ["secret"], "headers": "secret"}}}}
    )
    assert "secret" not in json.dumps(shown)
    assert len(masked) == 2


def test_what_says_nothing_is_left_as_it_is() -> None:
    facts = {"parsed_body": None, "parsed_query": {}, "action": {"arguments": {}}, "attributes": {}}
    assert kept(facts) == (facts, set())


@pytest.mark.parametrize("value", ["1e400", "[" * 1100 + "]" * 1100])
def test_of_facts_that_not_every_reader_takes_nothing_is_kept(value: str) -> None:
    question = f'{{"parsed_body":{value},"parsed_path":["a"]}}'.encode()
    assert keepable(question, PLAIN, mcp=False, payload=True) == ({}, [""])
