"""`aegis policy facts`: what is read where, why it is wide, and what it costs on decisions that were made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.replaying import RULES, accesses, recording, run


def source(tmp_path: Path, rules: str, **names: str) -> Path:
    directory = tmp_path / "candidate"
    directory.mkdir()
    for old, new in names.items():
        rules = rules.replace(old, new)
    (directory / "decision.rego").write_text(f"package aegis\n\n{rules}\n")
    return directory


def facts(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    done = run(tmp_path, "policy", "facts", *arguments, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)["entry_points"]["aegis/decision"]
    return found


async def decided(tmp_path: Path) -> None:
    """Five decisions of four questions: one path comes twice, and one body differs."""
    async with recording(tmp_path) as worker:
        for agent, path in (("a", "/read/1"), ("a", "/read/1"), ("b", "/read/1"), ("b", "/other/2")):
            await worker.ask(agent, path)
        await worker.ask("a", "/keep/1", {"count": 1})


async def test_the_cost_is_counted_in_decisions_and_who_reads_them_is_recorded(tmp_path: Path) -> None:
    await decided(tmp_path)
    found = facts(tmp_path, str(source(tmp_path, RULES)), "--why", "tuning")["hits"]
    assert (found["decisions"], found["counted"], found["unknown"]) == (5, 5, {})
    assert (found["keys"], found["hits"]) == (3, 2)
    assert found["recorded"] == {"hit": 2, "miss": 3}
    assert found["splits"][0]["path"] == ["parsed_path"]
    (access,) = accesses(tmp_path)
    assert (access["why"], access["names"]) == ("tuning", ["facts", "parameters"])


async def test_for_people_the_same_is_said_in_sentences(tmp_path: Path) -> None:
    await decided(tmp_path)
    done = run(tmp_path, "policy", "facts", str(source(tmp_path, RULES)), "--why", "tuning")
    assert done.exit_code == 0, done.output
    assert "5 decisions recorded, 5 of them with what this policy reads" in done.stdout
    assert "a cache of 30 s would have answered 2 of them (40.0%)" in done.stdout
    assert "recorded then: hit 2, miss 3" in done.stdout


async def test_a_field_that_was_never_asked_is_not_guessed(tmp_path: Path) -> None:
    await decided(tmp_path)
    candidate = source(tmp_path, RULES, **{'input.parsed_path[0] == "read"': "input.session.id"})
    found = facts(tmp_path, str(candidate), "--why", "tuning")["hits"]
    assert (found["counted"], found["unknown"]) == (0, {"not_captured": 5})


def test_recorded_facts_are_not_read_without_a_reason(tmp_path: Path) -> None:
    (tmp_path / "aegis.yaml").write_text(f"state: {tmp_path}")
    done = run(tmp_path, "policy", "facts", str(source(tmp_path, RULES)), "--last", "1h")
    assert done.exit_code == 1
    assert "--why: recorded facts are read for a reason only" in done.output
