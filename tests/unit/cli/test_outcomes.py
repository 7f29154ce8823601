"""`aegis outcomes` as people and programs use it: what it prints, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from authz.cli.main import app
from tests import ledgers
from tests.unit.ledger.test_outcomes import decision, outcome, undecided


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["outcomes", *map(str, arguments)])


def write(root: Path, *entries: ledgers.Members) -> Path:
    ledgers.write(root, iter([{"kind": "open"}, *entries]))
    return root


def test_decisions_with_their_outcomes_are_fine(tmp_path: Path) -> None:
    done = run(write(tmp_path, decision(1), outcome(1, 1)))
    assert done.exit_code == 0
    assert done.output == (
        "decisions  1\n"
        "  1 with outcome: 1 within 60 s, 0 later\n"
        "  0 without outcome: 0 allowed, 0 denied\n"
        "  0 younger than 60 s, whose outcome may still come\n"
        "outcomes   1\n"
        "  0 without a decision, 0 of decisions in other logs\n"
        "  0 of decisions that have one already, 0 recorded twice\n"
        "forwarded without a recorded allow  0\n"
    )


def test_what_is_missing_is_named_and_is_no_failure(tmp_path: Path) -> None:
    done = run(write(tmp_path, decision(1), {"kind": "heartbeat"}), "--after", "0.5")
    assert done.exit_code == 0
    assert "  1 without outcome: 1 allowed, 0 denied\n" in done.output
    log = f"{ledgers.WORKER}/{ledgers.EPOCH}"
    assert done.output.endswith(f"\nwithout outcome\n  {log}@1  allow {decision(1)['decision_id']}\n")


def test_what_went_out_unallowed_is_exit_status_1(tmp_path: Path) -> None:
    done = run(write(tmp_path, undecided(1, forwarded=True)))
    assert done.exit_code == 1
    assert "forwarded without a recorded allow  1\n" in done.output
    assert "forwarded, no decision: http://a.example/x" in done.output


def test_programs_get_one_object(tmp_path: Path) -> None:
    done = run(write(tmp_path, decision(1, decision="deny"), outcome(1, 1)), "--json", "--after", "5")
    found = json.loads(done.output)
    assert (done.exit_code, found["breaches"], found["after_s"], found["in_time"]) == (1, 1, 5.0, 1)


def test_what_is_stored_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    done = run(write(tmp_path, undecided(1, endpoint="http://a\x1b[2J\nforwarded without")))
    assert "\x1b" not in done.output
    assert r"http://a\x1b[2J\nforwarded without" in done.output


@pytest.mark.parametrize("ledger", ["nowhere", "file"])
def test_what_cannot_be_read_is_exit_status_2(tmp_path: Path, ledger: str) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path / ledger)
    assert done.exit_code == 2
    assert ledger in done.output


def test_damage_is_exit_status_1_and_names_the_line(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 3)
    ledgers.edit(epoch, lambda entries: entries.__setitem__(1, b"{}"))
    done = run(tmp_path)
    assert done.exit_code == 1
    assert "line 2, seq 1" in done.output
