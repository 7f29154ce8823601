"""`aegis complete`: what it prints and its exit status, for people and for programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from authz.cli.complete import EXIT
from authz.cli.main import app
from authz.ledger import trust
from authz.ledger.completeness.report import ORDER
from tests.deployments import TRUST, Deployment, at, minute


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    made = Deployment(tmp_path / "ledger")
    log = made.name()
    made.worker(log, minute(log))
    made.control()
    (tmp_path / "trust.json").write_bytes(trust.export(TRUST.log_keys, TRUST.record_keys))
    return made


def aegis(deployment: Deployment, *arguments: str) -> Result:
    bounds = ("--heads", "12", "--silence", "12", "--after", "5")
    result = CliRunner().invoke(app, ["complete", str(deployment.root), *bounds, *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_what_is_complete_is_said_with_what_it_rests_on(deployment: Deployment) -> None:
    result = aegis(deployment, "--from", at(10), "--to", "2026-01-01T01:00:50+01:00")
    assert result.exit_code == 0
    said = result.stdout.splitlines()
    assert said[0] == f"COMPLETE  from {at(10)} to {at(50)}"
    assert deployment.name() in said
    assert "  81 entries in the interval" in result.stdout
    assert "at most 10.0 s apart" in result.stdout
    assert "decisions  41" in said
    assert "not checked" in said


def test_without_an_interval_it_is_all_that_was_reported(deployment: Deployment) -> None:
    result = aegis(deployment)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"COMPLETE  from {at(1)} to {at(62)}\n")


def test_what_is_missing_is_named(deployment: Deployment) -> None:
    shutil.rmtree(deployment.logs[deployment.name()])
    result = aegis(deployment)
    assert result.exit_code == 1
    assert result.stdout.startswith("MISSING  from ")
    assert f"missing: {deployment.name()}: it is not here, and 120 entries were reported" in result.stdout


def test_what_is_not_established_has_a_status_of_its_own(deployment: Deployment) -> None:
    result = aegis(deployment, "--from", at(10), "--to", at(500))
    assert result.exit_code == 3
    assert result.stdout.startswith("NOT ESTABLISHED  from ")


def test_every_verdict_has_an_exit_status() -> None:
    assert EXIT.keys() == set(ORDER)
    assert [verdict for verdict, status in EXIT.items() if status == 0] == ["complete"]


def test_programs_get_one_object(deployment: Deployment) -> None:
    found = json.loads(aegis(deployment, "--json").stdout)
    assert (found["verdict"], found["findings"]) == ("complete", [])
    assert found["requests"]["decisions"] == 59
    assert [log["log"] for log in found["logs"]] == [deployment.name()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", at(1)), "--from and --to: both, or none of them"),
        (("--from", at(5), "--to", at(4)), "--from is after --to"),
        (("--from", "yesterday", "--to", at(4)), "--from: 'yesterday' is not a time in RFC 3339"),
        (("--from", at(1), "--to", "2026-01-01T00:00:10"), "has no time zone; add Z for UTC"),
        (("--trust", "/nowhere/trust.json"), "/nowhere/trust.json: No such file"),
    ],
)
def test_what_cannot_be_judged_is_one_sentence(
    deployment: Deployment, arguments: tuple[str, ...], said: str
) -> None:
    result = aegis(deployment, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_what_is_stored_cannot_command_a_terminal(deployment: Deployment) -> None:
    file = next((deployment.root / "control").rglob("*.jsonl"))
    file.write_bytes(file.read_bytes().replace(b"closed", b"\x1b[2Jx"))
    result = aegis(deployment, "--from", at(10), "--to", at(50))
    assert result.exit_code == 1
    assert "\x1b" not in result.stdout
