"""Where record, facts, evidence and version disagree it is said, and what cannot be checked is not."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from authz.policy.manifest import Analysis
from authz.record import NO_PARAMETERS
from authz.replay.agreement import disagreements, holds
from authz.replay.compare import Difference
from authz.replay.recorded import Recorded
from authz.replay.replaying import Replayed
from authz.replay.version import Version
from authz.values import MISSING

DATA = {"agents": {"a": {}, "spiffe://x/y": {}}, "tools": {"t": {"category": "read"}}, "list": ["one"]}
VERSION = Version("v1+0", {"/data.json": orjson.dumps(DATA)}, Analysis(1, {}, ()))
RECORD: dict[str, Any] = {
    "decision": "allow",
    "mode": "enforce",
    "reason_code": "permitted",
    "rule": "matrix/read/internal",
    "category": "read",
    "sensitivity": "internal",
    "rationale": ["policy-compliant", "because"],
    "evidence": ["agents/a", "agents/spiffe://x/y", "input/agent/id", "ticket 17"],
    "agent_id": "a",
    "method": "GET",
    "endpoint": "https://api.example/v1",
    "params_hash": NO_PARAMETERS,
}
FACTS = {"agent": {"id": "a"}, "action": {"method": "GET"}, "destination": {"host": "api.example"}}


def about(
    members: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    *,
    version: Version | None = VERSION,
    parameters: Any = MISSING,
    differs: tuple[Difference, ...] = (),
    outcome: dict[str, Any] | None = None,
) -> list[str]:
    question = orjson.dumps(FACTS if facts is None else facts)
    recorded = Recorded(RECORD | (members or {}), Path(), 1, question, parameters=parameters)
    return [each.about for each in disagreements(Replayed(recorded, differs=differs), version, outcome)]


def test_an_honest_decision_agrees() -> None:
    assert about(parameters={}, outcome={"forwarded": True}) == []


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({"rationale": ["policy-violation"]}, ["rationale"]),
        ({"decision": "deny", "rationale": ["policy-compliant"]}, ["rationale"]),
        ({"decision": "deny", "rationale": ["approval-required"]}, ["rationale"]),
        (
            {
                "decision": "would_block",
                "mode": "shadow",
                "policy_decision": "deny",
                "rationale": ["policy-violation"],
            },
            [],
        ),
        ({"evidence": ["agents/b"]}, ["evidence"]),
        ({"evidence": ["tools/t/category/x"]}, ["evidence"]),
        ({"evidence": ["list/1"]}, ["evidence"]),
        ({"evidence": ["input/agent/nothing"]}, ["evidence"]),
        ({"evidence": ["elsewhere/b"]}, []),
        ({"evidence": "sha256:00"}, []),
        ({"category": "export"}, ["rule"]),
        ({"rule": "agent-tool", "category": "export"}, []),
        ({"agent_id": "b"}, ["facts"]),
        ({"method": "POST"}, ["facts"]),
        ({"endpoint": "https://evil.example/v1"}, ["facts"]),
        ({"agent_id": "sha256:00"}, []),
    ],
)
def test_each_kind_of_disagreement(members: dict[str, Any], found: list[str]) -> None:
    assert about(members) == found


@pytest.mark.parametrize(
    ("score", "members", "found"),
    [
        ({"value": "0.81", "threshold": "0.7"}, {}, ["score"]),
        ({"value": "0.7", "threshold": "0.70"}, {}, ["score"]),
        ({"value": "0.69", "threshold": "0.7"}, {}, []),
        ({"value": "0.81", "threshold": "0.7", "refused": "below"}, {}, []),
        ({"value": "0.5", "threshold": "0.7", "refused": "below"}, {}, ["score"]),
        (
            {"value": "0.5", "threshold": "0.7"},
            {"decision": "deny", "reason_code": "score_too_high"},
            ["score"],
        ),
        ({"value": "0.5", "threshold": "0.7"}, {"decision": "deny", "reason_code": "tool_unknown"}, []),
        ({"value": "high", "threshold": "0.7"}, {}, ["score"]),
        ({"value": "NaN", "threshold": "0.7"}, {}, ["score"]),
        ({"value": "0.9"}, {}, []),
    ],
)
def test_a_score_stands_on_the_side_of_its_threshold_that_was_decided(
    score: dict[str, str], members: dict[str, Any], found: list[str]
) -> None:
    assert about({"score": score, "rationale": []} | members) == found


def test_parameters_whose_hash_is_another() -> None:
    assert about(parameters={"amount": 1}) == ["parameters"]


def test_what_the_version_says_now_and_what_the_gateway_did() -> None:
    assert about(differs=(Difference("rule", "a", "b"),)) == ["replay"]
    assert about({"decision": "deny", "rationale": []}, outcome={"forwarded": True}) == ["outcome"]
    assert about({"decision": "deny", "rationale": []}, outcome={"forwarded": False}) == []


def test_what_is_not_here_is_not_judged() -> None:
    assert about({"evidence": ["agents/b", "input/agent/nothing"]}, {}, version=None) == ["evidence"]
    recorded = Recorded(RECORD | {"evidence": ["agents/b", "input/x"]}, Path(), 1)
    assert disagreements(Replayed(recorded), None) == ()


def test_names_may_hold_slashes() -> None:
    tree = {"a": {"b/c": 1}, "a/b": {"d": 1}}
    assert holds(tree, ["a", "b", "c"])
    assert holds(tree, ["a", "b", "d"])
    assert not holds(tree, ["a", "c"])
