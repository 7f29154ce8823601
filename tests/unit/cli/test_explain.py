"""`aegis explain`: what record, facts and version say, in words, and where they disagree."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from authz.ledger.disclosures import form
from tests.replaying import RULES, accesses, recording, run

PLACE = ("kind", "log", "seq", "previous_entry_hash", "timestamp", "signer_id", "attestation_signature")


async def said(directory: Path, *arguments: str) -> Any:
    return await asyncio.to_thread(run, directory, "explain", *arguments, "--why", "complaint 17")


async def test_a_decision_in_words(tmp_path: Path) -> None:
    async with recording(tmp_path) as asking:
        record = await asking.ask("agent-1", "/keep/1", {"count": 3})
    done = await said(tmp_path, record["decision_id"])
    assert done.exit_code == 0, done.output
    for words in (
        "agent agent-1, known by its signed token,",
        "asked for POST https://api.example/keep/1",
        "It was allowed: permitted.",
        "Rule keeping of policy version v1 (digest ",
        '"count": 3',
        "aegis/decision.rego:",
        "Nothing that could be checked disagrees.",
        f"aegis show {record['decision_id']}",
    ):
        assert words in done.output
    (event,) = accesses(tmp_path)
    assert (event["why"], event["names"]) == ("complaint 17", ["facts", "parameters"])


async def test_a_decision_before_policy_says_that_nobody_asked_policy(tmp_path: Path) -> None:
    async with recording(tmp_path) as asking:
        record = await asking.ask("agent-1", "/a%2fb")
    done = await said(tmp_path, record["decision_id"])
    assert done.exit_code == 0
    assert "It was denied: malformed_path." in done.output
    assert "No policy version decided this" in done.output
    assert "not_replayable: not_asked" in done.output
    assert accesses(tmp_path) == []


async def test_evidence_that_the_version_does_not_have_is_counted(tmp_path: Path) -> None:
    rego = RULES.replace('concat("/", ["paths", input.parsed_path[0]])', '"input/parsed_path/9"')
    async with recording(tmp_path, rego) as asking:
        wrong = await asking.ask("agent-1", "/read/1")
        await asking.ask("agent-1", "/keep/1", {"count": 3})
    done = await said(tmp_path, wrong["decision_id"])
    assert done.exit_code == 3
    assert "DISAGREES  evidence: input/parsed_path/9: there is no such fact" in done.output
    done = await said(tmp_path, "--last", "1h")
    assert done.exit_code == 3
    assert "2 decisions, 1 of them disagree with their explanation" in done.output
    found = json.loads((await said(tmp_path, "--last", "1h", "--json")).output)
    assert found == {
        "decisions": 2,
        "disagreeing": 1,
        "about": {"evidence": 1},
        "examples": {"evidence": [wrong["decision_id"]]},
    }


async def test_a_signed_lie_disagrees_with_its_version_and_its_facts(tmp_path: Path) -> None:
    async with recording(tmp_path) as asking:
        record = await asking.ask("agent-1", "/read/1")
        facts = {"input": {"action": {}, "agent": {"id": "agent-2"}, "parsed_path": ["other"]}, "masked": []}
        text = form.make("facts", facts, os.urandom(16))
        members = {name: value for name, value in record.items() if name not in PLACE}
        lie = record["decision_id"][:-4] + "0000"
        members |= {"decision_id": lie, "_sd": [form.digest(text)], "rationale": ["policy-violation"]}
        await asking.worker.ledger.append("decision", members, synced=True, disclosures=(text,))
    done = await said(tmp_path, lie, "--json")
    found = {each["about"] for each in json.loads(done.output)["disagreements"]}
    assert (done.exit_code, found) == (3, {"rationale", "facts", "replay"})


async def test_the_outcome_where_the_gateway_said_one(tmp_path: Path) -> None:
    async with recording(tmp_path) as asking:
        record = await asking.ask("agent-1", "/other")
        outcome = {"decision_id": record["decision_id"], "forwarded": True, "status": 200, "duration_us": 7}
        await asking.worker.ledger.append("outcome", outcome, synced=True)
    done = await said(tmp_path, record["decision_id"])
    assert "The gateway says: forwarded to the upstream, HTTP 200, after 7 us." in done.output
    assert "DISAGREES  outcome: it was forwarded, and the decision is deny" in done.output
    assert done.exit_code == 3


async def test_what_cannot_be_meant(tmp_path: Path) -> None:
    async with recording(tmp_path) as asking:
        await asking.ask("agent-1", "/read/1")
    assert (await said(tmp_path)).exit_code == 2
    done = await said(tmp_path, "019b7690-0001-7000-8000-000000000001")
    assert (done.exit_code, "no decision 019b7690" in done.output) == (1, True)
