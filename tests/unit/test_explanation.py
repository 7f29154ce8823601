"""What explains a decision is kept where the settings want it and policy permits it, and nowhere else."""

import hashlib
import json
from typing import Any

import pytest
import rfc8785

from authz.config_evidence import Disclosures
from authz.config_evidence import Redaction as Rules
from authz.controls.redaction import PLAIN, Redaction
from authz.controls.rule import rule
from authz.explanation import Explanation
from authz.ledger.disclosures import form
from authz.record import params_hash
from authz.testing import a_request
from authz.values import Action, Assurance, Decision, Malformed, Reason, Request, Ruling, Subject, Verdict

ARGUMENTS = {"patient": "Miller", "password": "pw", "dose": 1.5}
ACTION = Action(kind="http", tool="", method="POST", resource="/", arguments=ARGUMENTS)
REQUEST = a_request(body=b"{}", query="q=1", action=ACTION, source_address="192.0.2.7")
SUBJECT = Subject("a", Assurance.JWT, claims={"email": "a@example", "sub": "a"})
QUESTION = json.dumps({"parsed_body": ARGUMENTS, "agent": {"id": "a"}}).encode()
ALL = {"facts": True, "snapshots": True, "client_address": True, "claims": ["email", "name"]}


def ruling(**obligations: Any) -> Ruling:
    return rule(REQUEST, Verdict(Decision.ALLOW, "permitted", obligations=obligations))


def explain(
    wanted: dict[str, Any],
    *,
    redaction: Redaction = PLAIN,
    request: Request | Malformed = REQUEST,
    question: bytes = QUESTION,
    **obligations: Any,
) -> dict[str, Any]:
    """What is disclosed, by name; every disclosure fits a digest."""
    members: dict[str, Any] = {}
    made = Explanation(Disclosures(**wanted), redaction)
    texts = made.add(members, request, SUBJECT, ruling(**obligations), question)
    assert members.get("_sd", []) == sorted(map(form.digest, texts))
    return {found.name: found.value for found in map(form.parse, texts)}


def test_with_everything_off_nothing_is_kept() -> None:
    assert not Disclosures().wanted
    assert explain({}, capture="redacted") == {}


@pytest.mark.parametrize("obligations", [{}, {"capture": "hash"}])
def test_without_the_obligation_no_payload_is_kept(obligations: dict[str, Any]) -> None:
    found = explain(ALL, **obligations)
    assert "Miller" not in json.dumps(found)
    assert found["facts"] == {
        "input": {"parsed_body": "[redacted]", "agent": {"id": "a"}},
        "masked": ["/parsed_body"],
    }
    assert (found["client_address"], found["claims"]) == ("192.0.2.7", {"email": "a@example"})
    assert "parameters" not in found


def test_without_the_setting_the_obligation_keeps_no_payload() -> None:
    found = explain(ALL | {"snapshots": False}, capture="redacted")
    assert "Miller" not in json.dumps(found)
    assert "parameters" not in found


def test_with_both_the_redacted_parameters_are_kept_and_hash_to_the_record_s() -> None:
    rules = Redaction(Rules(pointers=["/query/q"]))  # type: ignore[arg-type]
    found = explain(ALL, redaction=rules, capture="redacted")
    assert found["parameters"]["body"] == ARGUMENTS | {"password": "[redacted]"}
    hashed = hashlib.sha256(rfc8785.dumps(found["parameters"])).hexdigest()
    assert hashed == params_hash(REQUEST, rules)[0]
    assert found["facts"]["input"]["parsed_body"] == ARGUMENTS | {"password": "[redacted]"}
    assert found["facts"]["masked"] == ["/parsed_body/password"]


def test_of_what_could_not_be_read_only_the_address_is_kept() -> None:
    malformed = Malformed(Reason.MALFORMED_PATH, "", source_address="192.0.2.7")
    assert explain(ALL, request=malformed, question=b"") == {
        "client_address": "192.0.2.7",
        "claims": {"email": "a@example"},
    }


def test_what_is_too_long_is_not_kept() -> None:
    found = explain(ALL | {"max_bytes": 256}, question=json.dumps({"agent": "x" * 300}).encode())
    assert set(found) == {"client_address", "claims"}


def test_equal_values_have_different_digests() -> None:
    """So that nobody finds a value by guessing it."""
    made = Explanation(Disclosures(client_address=True), PLAIN)
    one, two = ({}, {})  # type: ignore[var-annotated]
    for members in (one, two):
        made.add(members, REQUEST, SUBJECT, ruling(), b"")
    assert one["_sd"] != two["_sd"]
