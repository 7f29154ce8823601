"""A candidate is judged by what is recorded meanwhile, and whatever is wrong with it stops nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from authz.config import Settings
from authz.config_file import load
from authz.followers.candidate import CandidateTask
from authz.followers.durable import Durable
from authz.followers.own_keys import OwnKeys
from authz.followers.seal import Sealer
from authz.ledger.checkpoint_store import open_to_sign
from tests.policy.opa import until, version_of
from tests.replaying import RULES, accesses, recording

CANDIDATE = {"version": "v2", "every_s": 0.1}


def seal(settings: Settings) -> None:
    store = open_to_sign(settings)
    sealer = Sealer(settings.ledger_directory.parent, settings.deployment, store, OwnKeys.of(settings))
    try:
        sealer.round()
    finally:
        sealer.close()
        store.close()


@asynccontextmanager
async def judging(settings: Settings) -> AsyncIterator[CandidateTask]:
    """The task, until the end of the block."""
    keys = OwnKeys.of(settings)
    task = CandidateTask(settings, Durable(settings.ledger_directory.parent, settings.deployment, keys))
    stop = asyncio.Event()
    running = asyncio.create_task(task.run(stop))
    try:
        yield task
    finally:
        stop.set()
        await running


def told(directory: Path, **members: Any) -> dict[str, Any]:
    return {"bundle_directory": str(directory / "bundles"), "candidate": CANDIDATE | members}


def report(settings: Settings) -> dict[str, Any]:
    file = settings.state / "candidate.json"
    found: dict[str, Any] = json.loads(file.read_bytes()) if file.exists() else {}
    return found


async def test_what_comes_is_put_to_the_candidate_and_what_was_before_is_not(tmp_path: Path) -> None:
    version_of(tmp_path, RULES.replace('== "read"', '== "other"'), "v2")
    async with recording(tmp_path, follower=told(tmp_path)) as asking:
        settings = load(tmp_path / "aegis.yaml")
        await asking.ask("agent-1", "/read/before")
        seal(settings)
        async with judging(settings) as task:
            await until(lambda: report(settings))
            turned = await asking.ask("agent-1", "/read/1")
            await asking.ask("agent-2", "/keep/1", {"count": 3})
            await asking.ask("agent-2", "/keep/1", {"count": 30})
            seal(settings)
            await until(lambda: report(settings).get("decisions") == 3)
            gauges = {name: value for name, _, value, _ in task.gauges()}
        found = report(settings)
    assert found["candidate"].startswith("v2+")
    assert (found["turned"], found["same"], found["not_replayable"]) == (1, 1, {"not_captured": 1})
    assert found["by_rule"][0]["examples"] == [turned["decision_id"]]
    assert gauges["aegis_candidate_turned_total"] == 1
    assert gauges["aegis_candidate_decisions_total"] == 2
    assert gauges["aegis_candidate_not_replayable_total"] == 1
    assert gauges["aegis_candidate_failed"] == 0
    (event,) = accesses(tmp_path)
    assert (event["why"], event["at_seq"]) == ("candidate v2 is judged", turned["seq"])


async def test_a_candidate_that_cannot_be_judged_is_said_until_it_can(tmp_path: Path) -> None:
    async with recording(tmp_path, follower=told(tmp_path)) as asking:
        settings = load(tmp_path / "aegis.yaml")
        async with judging(settings) as task:
            await until(lambda: task.failures > 1)
            assert "v2 is not published" in task.fault
            version_of(tmp_path, RULES, "v2")
            await until(lambda: not task.fault and report(settings))
            await asking.ask("agent-1", "/read/1")
            seal(settings)
            await until(lambda: report(settings).get("same") == 1)


async def test_a_candidate_that_reaches_out_is_refused_with_its_reason(tmp_path: Path) -> None:
    leak = 'leak if http.send({"method": "POST", "url": "http://127.0.0.1:1/", "body": input})'
    version_of(tmp_path, f"{RULES}\n{leak}", "v2")
    async with recording(tmp_path, follower=told(tmp_path)):
        settings = load(tmp_path / "aegis.yaml")
        async with judging(settings) as task:
            await until(lambda: task.failures)
            assert "undefined function http.send" in task.fault


async def test_facts_that_are_erased_meanwhile_are_counted(tmp_path: Path) -> None:
    version_of(tmp_path, RULES, "v2")
    async with recording(tmp_path, follower=told(tmp_path)) as asking:
        settings = load(tmp_path / "aegis.yaml")
        async with judging(settings) as task:
            await until(lambda: report(settings))
            await asking.ask("agent-1", "/read/1")
            (file,) = settings.ledger_directory.glob("*/disclosures/*.jsonl")
            file.write_bytes(b"")
            seal(settings)
            await until(lambda: report(settings).get("not_replayable") == {"erased": 1})
            assert task.failures == 0
