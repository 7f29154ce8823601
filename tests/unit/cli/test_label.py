"""`aegis label` and `aegis policy shadow-report` as reviewers and programs use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from authz import who
from authz.cli.main import app
from authz.ledger.outbox import Outbox
from tests import ledgers
from tests.policy.opa import activate, version_of
from tests.unit.ledger.test_shadow_report import allowed, decision, ids


@pytest.fixture
def state(tmp_path: Path) -> Path:
    hostile = {"agent": "stranger[bold]\x1b[2J", "rule": "agent-limits"}
    entries = [
        *(decision(number, "billing-agent", "agent-limits") for number in range(1, 5)),
        decision(5, **hostile),
        decision(6, "billing-agent", "matrix/export/internal", policy_decision="approval_needed"),
        allowed(7, "billing-agent"),
        decision(8, "billing-agent", "agent-tool", decision="deny"),
    ]
    ledgers.write(tmp_path / "ledger", iter([{"kind": "open"}, *entries]))
    return tmp_path


def label(state: Path, number: int, said: str, *more: str) -> Result:
    arguments = ["label", ids(number)[0], said, "--state", str(state), *(more or ("--why", "looked at it"))]
    return CliRunner().invoke(app, arguments)


def report(state: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["policy", "shadow-report", "--state", str(state), *more])


def events(state: Path) -> list[dict[str, Any]]:
    with Outbox(state / "control.sqlite") as outbox:
        return [{"kind": event.kind} | event.members for event in outbox.waiting(100)]


def test_a_label_says_who_which_entry_and_why(state: Path) -> None:
    done = label(state, 2, "false-positive", "--why", "a refund, as agreed")
    assert (done.exit_code, done.output) == (
        0,
        f"false-positive: decision {ids(2)[0]}, by {who.runs_this()}\n",
    )
    assert events(state) == [
        {
            "kind": "label",
            "who": who.runs_this(),
            "why": "a refund, as agreed",
            "decision_id": ids(2)[0],
            "of": f"{ledgers.WORKER}/{ledgers.EPOCH}",
            "at_seq": 2,
            "label": "false_positive",
        }
    ]
    assert label(state, 8, "true-positive").exit_code == 0  # one that was enforced may be reviewed, too


@pytest.mark.parametrize(
    ("number", "arguments", "status", "named"),
    [
        (99, ("false-positive",), 1, "no decision"),
        (7, ("false-positive",), 2, "is an allow"),
        (1, ("maybe",), 2, "maybe"),
        (1, ("false-positive", "--why", ""), 2, "why"),
        (1, ("false-positive", "--why", "x" * 1025), 2, "why"),
    ],
)
def test_what_cannot_be_labelled_is_refused_and_nothing_put(
    state: Path, number: int, arguments: tuple[str, ...], status: int, named: str
) -> None:
    done = label(state, number, *arguments)
    assert (done.exit_code, named in done.output) == (status, True)
    assert events(state) == []


def test_a_reviewer_may_change_its_mind_and_two_may_disagree(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reviewer, number, said in (
        ("ana", 1, "true-positive"),
        ("ana", 1, "false-positive"),
        ("bo", 1, "false-positive"),
        ("ana", 2, "true-positive"),
        ("ana", 3, "true-positive"),
        ("bo", 3, "false-positive"),
    ):
        monkeypatch.setattr(who, "runs_this", lambda reviewer=reviewer: reviewer)
        assert label(state, number, said).exit_code == 0
    found = json.loads(report(state, "--json").output)
    assert found["labels_waiting"] == 6
    reviewed = {row["rule"]: row["reviewed"] for row in found["rules"]}
    assert reviewed["agent-limits"] == {
        "labelled": 3,
        "true_positives": 1,
        "false_positives": 1,
        "disputed": 1,
        "share": 0.5,
        "low": pytest.approx(0.0945, abs=1e-4),
        "high": pytest.approx(0.9055, abs=1e-4),
    }
    assert reviewed["matrix/export/internal"]["share"] is None
    text = report(state).output
    assert "50.0% (9.5% to 90.5% at 95%) of 3 labelled, 1 disputed" in text
    assert "6 labels counted here still wait" in text


def test_people_see_what_it_would_have_blocked(state: Path) -> None:
    done = report(state)
    assert done.exit_code == 0, done.output
    for text in (
        "in shadow now: not known here",
        "all records: 8 requests, 6 would have been blocked (75.0%)",
        "false positives: no labels",
        "agent-limits",
        "matrix/export/internal",
        "approval_needed 1",
        "https://api.example",
        "62.5%",  # agent-limits: 5 of 8
        "71.4%",  # billing-agent: 5 of 7
        ids(6)[0],
        "stranger[bold]",
    ):
        assert text in done.output, done.output
    assert "\x1b" not in done.output
    assert max(map(len, done.output.splitlines())) <= 160


def test_a_rule_an_agent_a_destination_and_an_interval_can_be_asked_for(state: Path) -> None:
    def counted(*arguments: str) -> tuple[int, int]:
        total = json.loads(report(state, "--json", *arguments).output)["total"]
        return total["would_block"], total["requests"]

    assert counted("--rule", "agent-limits") == (5, 8)
    assert counted("--agent", "billing-agent") == (5, 7)
    assert counted("--destination", "https://elsewhere.example") == (0, 0)
    assert counted("--from", "2026-01-01T00:00:03Z", "--to", "2026-01-01T00:00:05Z") == (2, 2)
    assert counted("--from", "2026-01-02") == (0, 0)
    done = report(state, "--from", "yesterday")
    assert (done.exit_code, "--from" in done.output) == (2, True)


def test_where_nothing_is_in_shadow_one_line_says_so(tmp_path: Path) -> None:
    ledgers.write(tmp_path / "ledger", iter([{"kind": "open"}, allowed(1)]))
    assert report(tmp_path).output.splitlines()[1:] == [
        "all records: 1 requests, 0 would have been blocked (0.0%)"
    ]


def test_what_is_in_shadow_and_stopped_nothing_is_named(state: Path) -> None:
    """It may be misspelt."""
    said = json.dumps({"rules": ["agent-limits", "agent-tol"], "agents": ["nobody"]})
    rego = 'decision := {"decision": "deny", "reason_code": "x"}\n'
    version_of(state, rego, **{"shadow/data.json": said})
    activate(state / "bundles", "v1")
    rules, agents, *_ = report(state).output.splitlines()
    assert rules == "in shadow now: rules agent-limits, agent-tol; would have blocked nothing: agent-tol"
    assert agents == "in shadow now: agents nobody; would have blocked nothing: nobody"
    found = json.loads(report(state, "--json").output)
    assert found["in_shadow"] == {"all": False, "agents": ["nobody"], "rules": ["agent-limits", "agent-tol"]}
    (state / "aegis.yaml").write_text(f"state: {state}\nshadow: {{versions: [v1]}}\n")
    done = CliRunner().invoke(app, ["policy", "shadow-report", "--config", str(state / "aegis.yaml")])
    assert done.output.splitlines()[0] == "in shadow now: everything"
