"""A policy for opa-envoy-plugin behind Envoy: what it wants upstream, client and record get to see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from authz.cli.main import app
from authz.up.traffic import DECISION_ID
from tests.e2e.stack import Stack, running

POLICY = """
package aegis

default decision := {
	"allowed": false,
	"http_status": 417,
	"body": "no",
	"headers": {"x-why": "default"},
	"dynamic_metadata": {"why": "default"},
}

decision := {
	"allowed": true,
	"headers": {"x-user": input.parsed_query.user[0], "X-Second": ["a", "b"]},
	"request_headers_to_remove": ["x-drop"],
	"response_headers_to_add": {"x-seen": "yes"},
	"query_parameters_to_set": {"added": "1 2"},
	"query_parameters_to_remove": ["user"],
} if input.parsed_query.user

decision := true if input.parsed_path == ["plain"]

decision := {"allowed": true, "headers": {"x-a": "b\\r\\nx-evil: 1"}} if input.parsed_path == ["split"]

decision := {"allowed": input.parsed_body.last} if input.parsed_path == ["json"]

decision := {"allowed": "yes"} if input.parsed_path == ["typo"]
"""
ANYBODY = {"anonymous": True, "minimum_assurance": "none"}
URL = "http://internal-ehr.myorg.example"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    source = tmp_path_factory.mktemp("policy")
    (source / "decision.rego").write_text(POLICY)
    state = tmp_path_factory.mktemp("stack")
    compat = {"compat": "opa-envoy-plugin"}
    kept = {"facts": True}
    with running(
        state, policy=source, policy_settings=compat, identity=ANYBODY, disclosures=kept, envoy=False
    ) as started:
        tree = started.deployment.gateway()
        # As its users have it: beside raw headers it parses no body, and Envoy would refuse escapes in
        # query parameters.
        asks = _find(tree, "encode_raw_headers")
        del asks["encode_raw_headers"], asks["validate_mutations"]
        started.deployment.start_envoy(tree)
        yield started


def _find(tree: Any, name: str) -> dict[str, Any]:
    """The one object in `tree` that has a member `name`."""
    level = [tree]
    while level:
        item = level.pop()
        if isinstance(item, dict) and name in item:
            return item
        level += item.values() if isinstance(item, dict) else item if isinstance(item, list) else []
    raise AssertionError(name)


@pytest.fixture
def agent(stack: Stack) -> Iterator[httpx.Client]:
    """Who has no token at all."""
    with stack.client("") as client:
        yield client


def test_an_allow_changes_the_request_and_the_answer_as_policy_says(
    stack: Stack, agent: httpx.Client
) -> None:
    answer = agent.get(f"{URL}/a?user=alice&b=c", headers={"x-drop": "1"})
    assert answer.status_code == 200
    received = answer.json()
    assert received["path"] == "/a?added=1%202&b=c"
    assert received["headers"]["x-user"] == "alice"
    assert "x-drop" not in received["headers"]
    assert answer.headers["x-seen"] == "yes"
    record = stack.record(answer)
    assert (record["decision"], record["reason_code"], record["agent_id"]) == (
        "allow",
        "policy_allowed",
        "unknown",
    )
    assert record["rule"] == "aegis/decision"
    assert received["headers"][DECISION_ID] == record["decision_id"]


def test_a_denial_is_the_policys_own(stack: Stack, agent: httpx.Client) -> None:
    answer = agent.get(f"{URL}/a")
    assert (answer.status_code, answer.text, answer.headers["x-why"]) == (417, "no", "default")
    assert stack.record(answer)["reason_code"] == "policy_denied"


def test_a_boolean_is_enough(stack: Stack, agent: httpx.Client) -> None:
    assert agent.get(f"{URL}/plain").status_code == 200


def test_the_last_member_counts_as_it_does_to_the_plugin(stack: Stack, agent: httpx.Client) -> None:
    kind = {"content-type": "application/json"}
    assert (
        agent.post(f"{URL}/json", content=b'{"last": false, "last": true}', headers=kind).status_code == 200
    )
    assert (
        agent.post(f"{URL}/json", content=b'{"last": true, "last": false}', headers=kind).status_code == 403
    )


def test_what_the_plugin_cannot_parse_gets_its_words_and_a_record(stack: Stack, agent: httpx.Client) -> None:
    answer = agent.get(f"{URL}/a?b=%zz&user=alice")
    assert (answer.status_code, answer.text) == (400, "request_parse_error: invalid URL escape")
    assert stack.record(answer)["reason_code"] == "malformed_query"


@pytest.mark.parametrize("path", ["/split", "/typo"])
def test_what_the_plugin_leaves_to_envoys_failure_mode_is_a_recorded_denial(
    stack: Stack, agent: httpx.Client, path: str
) -> None:
    answer = agent.get(f"{URL}{path}")
    assert answer.status_code == 403
    record = stack.record(answer)
    assert record["reason_code"] == answer.json()["reason_code"] == "policy_error"
    assert record["rationale"]


def test_every_decision_comes_out_the_same_again(stack: Stack, agent: httpx.Client) -> None:
    """Level 4: from the facts that were kept, by the version that decided, without the worker."""
    for path in ("/a?user=alice", "/a", "/plain", "/typo"):
        agent.get(f"{URL}{path}", headers={"authorization": "Basic c2VjcmV0"})
    deployment = stack.deployment
    told = ["verify", str(stack.ledger.parent), "--trust", str(deployment.trust), "--level", "4"]
    done = CliRunner().invoke(app, [*told, "--config", str(deployment.config), "--json"])
    found = json.loads(done.stdout)
    assert done.exit_code == 0, done.output
    assert found["level"] == 4
    assert found["repeated"]["same"] >= 2, found["repeated"]  # a query is not kept, an error names no version
    assert found["repeated"]["faults"] == 0
