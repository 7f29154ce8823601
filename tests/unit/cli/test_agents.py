"""`aegis agents` as people and programs use it."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from authz.cli.main import app
from tests import ledgers
from tests.unit.ledger.test_agents import decision

LIBRARY = Path(__file__).parents[3] / "rego"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["agents", *map(str, arguments)])


def ledger(root: Path) -> Path:
    shared = {"source": "5ec7e7", "key": "kid-1"}
    entries = [
        decision(0, "billing-agent", **shared),
        decision(9, "billing-agent", source="0ther"),
        decision(9, "stranger[bold]\x1b[2J", decision="deny", principal="spiffe://aegis.test/s", **shared),
    ]
    ledgers.write(root, iter([{"kind": "open"}, *entries]))
    return root


def test_people_see_who_may_what_and_who_was_seen(tmp_path: Path) -> None:
    done = run(LIBRARY, "--ledger", ledger(tmp_path))
    assert done.exit_code == 0, done.output
    for text in (
        "[payment/confidential] at",
        "payments.myorg.example (limits:",
        "amount_cents)",
        "2026-01-01 00:00:09",
        "2 allow",
        "key kid-1",
        "2 source(s)",
        "not in policy",
        "spiffe://aegis.test/s",
        "never",
        "several sources",
        "several agents",
    ):
        assert text in done.output
    assert "\x1b" not in done.output
    assert "stranger[bold]" in done.output
    assert max(map(len, done.output.splitlines())) <= 120


def test_programs_get_one_object(tmp_path: Path) -> None:
    found = json.loads(run(LIBRARY, "--ledger", ledger(tmp_path), "--json", "--window", "8").output)
    agents = {agent["agent"]: agent for agent in found["agents"]}
    assert found["window_s"] == 8
    assert [agent["in_policy"] for agent in agents.values()] == [True, True, False]
    billing = agents["billing-agent"]
    assert billing["grants"][0]["destinations"] == ["payments.myorg.example"]
    assert (billing["seen"]["sources"], billing["seen"]["flags"]) == (["0ther", "5ec7e7"], [])
    assert agents["clinical-agent"]["seen"] is None


def test_without_a_ledger_there_is_what_policy_says(tmp_path: Path) -> None:
    done = run(LIBRARY, "--state", tmp_path)
    assert done.exit_code == 0
    assert done.output.count("never") == 2


def test_without_policy_it_says_so(tmp_path: Path) -> None:
    done = run("--state", tmp_path)
    assert (done.exit_code, "no version is active" in done.output) == (2, True)


def test_a_ledger_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run(LIBRARY, "--ledger", tmp_path / "none")
    assert done.exit_code == 2
    assert "none" in done.output
