"""An agent that says of itself what is not so: nothing is believed, passed on, or kept if it is a secret."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import orjson

from tests.worker import AGENT, CheckWorker, message, serving

# Wants to know the model, and lets nobody in who calls itself an administrator.
REQUIRES = """
default decision := {"decision": "deny", "reason_code": "not_permitted", "rule": "default"}

decision := {"decision": "allow", "reason_code": "permitted", "rule": "model-known"} if {
    input.agent.id == "agent-1"
    "model" in input.context.claimed
}
"""
CLAIMS = {
    "x-aegis-action-id": "action-7",
    "x-aegis-step-id": "3",
    "x-aegis-parent-decision-id": "01a20f04-35c1-7a92-b0a4-6f1f5b2a8c11",
    "x-aegis-model": "model-x",
    "x-aegis-decoding": "temperature=0.2,seed=7",
    "x-aegis-prompt-template-version": "triage@12",
}
TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


def asking(worker: CheckWorker, headers: dict[str, str]) -> bytes:
    return message(token=worker.token(), headers=headers).SerializeToString()


async def test_claims_are_recorded_as_claimed_and_never_reach_the_upstream(tmp_path: Path) -> None:
    async with serving(tmp_path) as worker:
        answer, record = await worker.recorded(asking(worker, CLAIMS))
    assert answer.allowed
    assert set(CLAIMS) <= set(answer.removed)
    assert record["agent_id"] == AGENT
    assert (record["action_id"], record["step_id"]) == ("action-7", "3")
    assert record["context"] == {
        "claimed": {
            "decoding": "temperature=0.2,seed=7",
            "model": "model-x",
            "prompt_template_version": "triage@12",
        },
        "claimed_ids": ["action_id", "step_id", "parent_decision_id"],
    }


def calling(worker: CheckWorker, meta: Any, headers: dict[str, str] | None = None) -> bytes:
    """A call of an MCP tool, with this `_meta`."""
    params = {"name": "notes.read", "arguments": {"id": "7"}, "_meta": meta}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    sent = {"content-type": "application/json"} | (headers or {})
    made = message(token=worker.token(), headers=sent, method="POST", path="/mcp", body=orjson.dumps(call))
    return made.SerializeToString()


async def test_claims_in_an_mcp_calls_meta_are_recorded_alike(tmp_path: Path) -> None:
    meta = {"aegis/action-id": "action-7", "aegis/model": "model-x", "progressToken": 1}
    async with serving(tmp_path, REQUIRES) as worker:
        answer, record = await worker.recorded(calling(worker, meta))
        without, _ = await worker.recorded(calling(worker, {"progressToken": 1}))
    assert (answer.allowed, without.allowed) == (True, False)
    assert (record["action"], record["action_id"]) == ("mcp", "action-7")
    assert record["context"] == {"claimed": {"model": "model-x"}, "claimed_ids": ["action_id"]}


async def test_what_header_and_meta_say_differently_counts_as_not_said(tmp_path: Path) -> None:
    async with serving(tmp_path, REQUIRES) as worker:
        for theirs in ("model-y", 7, None, {"model": "model-x"}, TOKEN):
            sent = calling(worker, {"aegis/model": theirs}, {"x-aegis-model": "model-x"})
            answer, record = await worker.recorded(sent)
            assert (answer.allowed, record["context"]) == (False, {"malformed": ["model"]})
        sent = calling(worker, {"aegis/model": "model-x"}, {"x-aegis-model": "model-x"})
        assert (await worker.check(sent)).allowed
        stored = b"".join(file.read_bytes() for file in worker.settings.ledger_directory.rglob("*.jsonl"))
    assert TOKEN.encode() not in stored


async def test_a_claim_of_being_somebody_changes_nothing(tmp_path: Path) -> None:
    others = {"x-aegis-agent-id": "admin", "x-aegis-approved": "yes", "x-aegis-assurance": "mtls"}
    async with serving(tmp_path) as worker:
        answer, record = await worker.recorded(asking(worker, others | {"x-aegis-model": "admin"}))
    assert set(others) <= set(answer.removed)
    assert (record["agent_id"], record["identity_assurance"]) == (AGENT, "jwt")
    assert record["context"] == {"claimed": {"model": "admin"}}


async def test_the_caller_cannot_choose_the_decisions_own_id(tmp_path: Path) -> None:
    chosen = "01a20f04-35c1-7a92-b0a4-6f1f5b2a8c11"
    async with serving(tmp_path) as worker:
        _, record = await worker.recorded(asking(worker, {"x-aegis-decision-id": chosen}))
    assert record["decision_id"] != chosen
    assert uuid.UUID(record["decision_id"]).version == 7


async def test_a_required_claim_that_is_missing_or_malformed_denies(tmp_path: Path) -> None:
    attempts = [{}, {"x-aegis-model": "a model"}, {"x-aegis-model": ""}, {"x-aegis-model-version": "1"}]
    async with serving(tmp_path, REQUIRES) as worker:
        for headers in attempts:
            answer, record = await worker.recorded(asking(worker, headers))
            assert (answer.allowed, record["reason_code"]) == (False, "not_permitted")
        answer, _ = await worker.recorded(asking(worker, {"x-aegis-model": "model-x"}))
        assert answer.allowed


async def test_a_required_claim_costs_no_verdict_that_was_kept(tmp_path: Path) -> None:
    async with serving(tmp_path, REQUIRES) as worker:
        seen = []
        for step in range(3):
            headers = {"x-aegis-model": f"model-{step}"}
            seen.append((await worker.recorded(asking(worker, headers)))[1]["cache"])
    assert seen == ["miss", "hit", "hit"]


async def test_a_claim_that_stands_twice_or_hides_behind_an_underscore_denies(tmp_path: Path) -> None:
    async with serving(tmp_path) as worker:
        twice = message(token=worker.token(), headers={"x-aegis-model": "a"})
        twice.attributes.request.http.header_map.headers.add(key="X-Aegis-Model", raw_value=b"b")
        for sent in (twice.SerializeToString(), asking(worker, {"x_aegis_model": "a"})):
            answer, record = await worker.recorded(sent)
            assert (answer.http_status, record["reason_code"]) == (400, "malformed_headers")
            assert "context" not in record


async def test_a_credential_sent_as_a_claim_is_not_in_the_ledger(tmp_path: Path) -> None:
    async with serving(tmp_path) as worker:
        headers = {"x-aegis-model": TOKEN, "x-aegis-retrieval-filter": f"Bearer {TOKEN}"}
        _, record = await worker.recorded(asking(worker, headers))
        stored = b"".join(file.read_bytes() for file in worker.settings.ledger_directory.rglob("*.jsonl"))
    assert record["context"] == {"malformed": ["model", "retrieval_filter"]}
    assert TOKEN.encode() not in stored


async def test_the_longest_claims_fit_into_a_record(tmp_path: Path) -> None:
    headers = CLAIMS | {
        "x-aegis-action-id": "a" * 128,
        "x-aegis-model": "m" * 128,
        "x-aegis-retrieval-filter": "f" * 256,
        "x-aegis-correlation-id": "c" * 128,
        "x-aegis-branch": "b" * 100_000,
    }
    async with serving(tmp_path, limits={"header_bytes": 200_000}) as worker:
        _, record = await worker.recorded(asking(worker, headers))
    assert record["context"]["claimed"]["retrieval_filter"] == "f" * 256
    assert record["context"]["malformed"] == ["branch"]
