"""An agent that wants to be in shadow, or to use that somebody is: it stays denied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from authz.values import ShadowScope
from tests.worker import AGENT, CheckWorker, message, serving

# Reads nothing of who asks, so that all agents share one kept verdict.
CLOSED = """
default decision := {"decision": "deny", "reason_code": "not_open", "rule": "closed"}

decision := {"decision": "allow", "reason_code": "permitted", "rule": "open"} if {
    input.parsed_path[0] == "open"
}
"""
WISHES = {
    "x-aegis-shadow": "all",
    "x-aegis-mode": "shadow",
    "x-aegis-decision": "would_block",
    "x-aegis-rule": "closed",
    "x-aegis-agent-id": "agent-2",
    "x-envoy-shadow": "true",
}
SAYS: dict[str, Any] = {
    "mode": "shadow",
    "shadow": {"all": True},
    "decision": "would_block",
    "aegis": {"shadow": True},
}


def asking(worker: CheckWorker, agent: str = AGENT, path: str = "/closed", **more: Any) -> bytes:
    claims = more.pop("claims", {})
    return message(token=worker.token(sub=agent, **claims), path=path, **more).SerializeToString()


def enforced(record: dict[str, Any]) -> bool:
    return (record["decision"], record["mode"]) == ("deny", "enforce") and "policy_decision" not in record


async def test_nothing_that_a_request_carries_switches_it(tmp_path: Path) -> None:
    async with serving(tmp_path, CLOSED, shadow={"agents": ["agent-2"], "rules": ["another"]}) as worker:
        body = orjson.dumps(SAYS)
        for request in (
            asking(worker, headers=WISHES),
            asking(worker, path="/closed?mode=shadow&shadow=all&rule=another"),
            asking(worker, claims=SAYS),
            asking(worker, method="POST", body=body, headers={"content-type": "application/json"}),
        ):
            answer, record = await worker.recorded(request)
            assert not answer.allowed
            assert enforced(record), record
        answer, record = await worker.recorded(asking(worker, path="/open", headers=WISHES))
        assert (record["decision"], record["mode"]) == ("allow", "enforce")
        assert {name for name in WISHES if name.startswith("x-aegis-")} <= set(answer.removed)


async def test_an_agent_in_shadow_lends_it_to_nobody_who_calls_through_it(tmp_path: Path) -> None:
    async with serving(tmp_path, CLOSED, shadow={"agents": ["agent-2"]}) as worker:
        answer, record = await worker.recorded(asking(worker, "agent-2"))
        assert (answer.allowed, record["decision"]) == (True, "would_block")
        through = asking(worker, "agent-2", claims={"act": {"sub": AGENT}})
        answer, record = await worker.recorded(through)
        assert record["agent_chain"]
        assert not answer.allowed
        assert enforced(record)


async def test_of_one_kept_verdict_each_agent_gets_its_own_ruling(tmp_path: Path) -> None:
    async with serving(tmp_path, CLOSED, shadow={"agents": ["agent-2"]}) as worker:
        told = [await worker.recorded(asking(worker, agent)) for agent in ("agent-2", AGENT) * 2]
        assert [answer.allowed for answer, _ in told] == [True, False, True, False]
        assert [record["cache"] for _, record in told] == ["miss", "hit", "hit", "hit"]
        worker.shadow.configure(ShadowScope(), ())  # what was kept is policy's word: nothing stays in shadow
        answer, record = await worker.recorded(asking(worker, "agent-2"))
        assert (record["cache"], answer.allowed) == ("hit", False)


@pytest.mark.parametrize("wanted", [{"all": True}, {"agents": [AGENT]}, {"versions": ["v1"]}])
async def test_what_an_agent_must_not_carry_it_does_not_carry_in_shadow_either(
    tmp_path: Path, wanted: dict[str, Any]
) -> None:
    async with serving(tmp_path, CLOSED, shadow=wanted) as worker:
        answer, record = await worker.recorded(asking(worker, headers=WISHES))
        assert (answer.allowed, record["decision"], record["policy_decision"]) == (
            True,
            "would_block",
            "deny",
        )
        assert {"x-aegis-agent-token", "proxy-authorization"} <= set(answer.removed)
        assert {name for name in WISHES if name.startswith("x-aegis-")} <= set(answer.removed)
        assert set(answer.headers) == {"x-aegis-decision-id"}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"token": ""}, "identity_missing"),
        ({"token": "a.b.c"}, "identity_invalid"),
        ({"path": "/closed/%2e%2e/x"}, "malformed_path"),
        ({"headers": {"host": "other.example"}}, "malformed_host"),
    ],
)
async def test_hard_denials_hold_while_everything_is_in_shadow(
    tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    async with serving(tmp_path, CLOSED, shadow={"all": True}) as worker:
        request = message(**{"token": worker.token(), "path": "/closed"} | changed).SerializeToString()
        answer, record = await worker.recorded(request)
        assert not answer.allowed
        assert enforced(record)
        assert record["reason_code"] == reason


@pytest.mark.parametrize(
    "said",
    [
        '{"decision": "would_block", "reason_code": "x"}',
        '{"decision": "deny", "reason_code": "x", "mode": "shadow"}',
        '{"decision": "allowed", "reason_code": "x"}',
        '{"reason_code": "x"}',
        "[]",
    ],
)
async def test_a_policy_that_gives_no_usable_answer_denies_in_shadow_too(tmp_path: Path, said: str) -> None:
    async with serving(tmp_path, f"decision := {said}\n", shadow={"all": True}) as worker:
        answer, record = await worker.recorded(asking(worker))
        assert (answer.allowed, record["reason_code"], record["mode"]) == (False, "policy_error", "enforce")
