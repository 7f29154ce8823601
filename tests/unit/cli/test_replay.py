"""`aegis replay` and `aegis policy candidate`: what they say, to whom, and that reading facts is recorded."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.policy.opa import write
from tests.replaying import RULES, accesses, recording, run


@pytest.fixture
async def records(tmp_path: Path) -> list[dict[str, Any]]:
    async with recording(tmp_path) as asking:
        return [
            await asking.ask("agent-1", "/read/1"),
            await asking.ask("agent-1", "/keep/1", {"count": 3}),
            await asking.ask("agent-2", "/keep/1", {"count": 30}),
        ]


async def said(directory: Path, *arguments: str) -> Any:
    return await asyncio.to_thread(run, directory, *arguments)


def changed(directory: Path) -> str:
    rego = RULES.replace("count < 10", "count < 2")
    return str(write(directory / "new", {"aegis/decision.rego": f"package aegis\n{rego}"}))


async def test_one_decision_with_what_was_asked_and_which_rules_fired(
    tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    done = await said(tmp_path, "replay", records[1]["decision_id"], "--why", "complaint 17")
    assert done.exit_code == 0
    assert "replayed   the same  by v1+" in done.output
    assert '"count": 3' in done.output
    assert "aegis/decision.rego:" in done.output
    (event,) = accesses(tmp_path)
    assert event.pop("who")
    assert event == {
        "why": "complaint 17",
        "of": records[1]["log"],
        "at_seq": records[1]["seq"],
        "decision_id": records[1]["decision_id"],
        "names": ["facts", "parameters"],
    }


async def test_a_trace_for_programs(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    trace = records[0]["trace_id"]
    done = await said(tmp_path, "replay", "--trace", trace, "--why", "x", "--json", "--explain", "fails")
    found = json.loads(done.output)
    (shown,) = found["shown"]
    assert (found["same"], shown["asked"]["parsed_path"], shown["differs"]) == (1, ["read", "1"], [])
    assert shown["trace"]


async def test_an_interval_is_counted_and_its_reading_is_one_event(
    tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    done = await said(tmp_path, "replay", "--last", "1h", "--why", "audit")
    assert done.exit_code == 0
    assert "3 decisions: 2 came out the same, 0 otherwise, 1 not replayable" in done.output
    assert "not_replayable: not_captured: 1" in done.output
    (event,) = accesses(tmp_path)
    assert (event["at_seq"], event["to_seq"]) == (records[0]["seq"], records[2]["seq"])


async def test_under_a_candidate_the_first_divergence_is_shown(
    tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    done = await said(tmp_path, "replay", "--last", "1h", "--policy", changed(tmp_path), "--why", "x")
    assert done.exit_code == 0
    assert f"first divergence: {records[1]['timestamp']}  decision {records[1]['decision_id']}" in done.output
    assert 'decision: recorded "allow", now "deny"' in done.output


async def test_what_a_candidate_changes_by_rule_agent_and_destination(
    tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    done = await said(tmp_path, "policy", "candidate", "--policy", changed(tmp_path), "--why", "x")
    assert done.exit_code == 3
    assert "1 would be decided otherwise" in done.output
    assert "keeping -> default" in done.output
    done = await said(tmp_path, "policy", "candidate", "--policy", "v1", "--why", "x", "--json")
    found = json.loads(done.output)
    assert (done.exit_code, found["turned"], found["same"]) == (0, 0, 2)
    assert found["candidate"].startswith("v1+")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["replay"], "say which"),
        (["replay", "--last", "1y"], "--last: 1y"),
        (["replay", "--last", "1h", "--from", "2026-01-01"], "not together"),
        (["replay", "--from", "2026-02-01", "--to", "2026-01-01"], "--from is not before --to"),
        (["replay", "--from", "yesterday"], "--from: yesterday"),
        (["replay", "--last", "1h", "--policy", "v9"], "v9 is not published"),
        (["replay", "--last", "1h", "--policy", "v1", "--entry", "other/one"], "no entry point other/one"),
        (["policy", "candidate", "--policy", "nothing"], "nothing is not published"),
    ],
)
@pytest.mark.usefixtures("records")
async def test_what_cannot_be_meant_says_why_and_reads_nothing(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    done = await said(tmp_path, *arguments, "--why", "x")
    assert (done.exit_code, says in done.output) == (2, True), done.output


@pytest.mark.usefixtures("records")
async def test_a_decision_that_is_not_there(tmp_path: Path) -> None:
    done = await said(tmp_path, "replay", "019b7690-0001-7000-8000-000000000001", "--why", "x")
    assert (done.exit_code, "no such decision" in done.output) == (1, True)
    assert accesses(tmp_path) == []


@pytest.mark.usefixtures("records")
async def test_without_a_place_for_the_event_nothing_is_shown(tmp_path: Path) -> None:
    done = await said(tmp_path, "replay", "--last", "1h", "--why", "x" * 5000)
    assert done.exit_code == 2
    assert "why: not a text" in done.output
    assert "came out" not in done.output
