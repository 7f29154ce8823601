"""`aegis policy test`: the exit status, and a watch that tries again and ends when it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from authz.cli.policy import app

REGO = Path(__file__).parents[3] / "rego"
RULE = """package aegis

default decision := {"decision": "deny", "reason_code": "not_permitted"}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "rego"
    made.mkdir()
    (made / "decision.rego").write_text(RULE)
    return made


def test_the_library_is_well() -> None:
    done = CliRunner().invoke(app, ["test", str(REGO)])
    assert done.exit_code == 0, done.output
    assert [line[:12].split() for line in done.output.splitlines()[:4]] == [
        ["ok", "format"],
        ["ok", "check"],
        ["ok", "lint"],
        ["ok", "test"],
    ]
    assert "all is well after" in done.output


def test_what_is_not_well_is_said_and_is_the_exit_status(source: Path) -> None:
    (source / "decision.rego").write_text(RULE.replace('"deny"', '"allow"'))
    done = CliRunner().invoke(app, ["test", str(source), "--coverage", "0"])
    assert done.exit_code == 1
    assert f"{source}/decision.rego:3:1: error: allow-by-default" in done.output
    assert "not well after" in done.output


@pytest.fixture
def watching(source: Path) -> Iterator[subprocess.Popen[str]]:
    aegis = "from authz.cli.main import app; app()"
    command = [sys.executable, "-c", aegis, "policy", "test", str(source), "--watch", "--coverage", "0"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    yield process
    process.kill()
    process.communicate()


def until(process: subprocess.Popen[str], text: str) -> str:
    """What it says up to the line with `text`."""
    assert process.stdout
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return said
    pytest.fail(f"it ended without {text!r}: {said}")


def test_it_tries_again_after_a_change_and_ends_without_a_word(
    source: Path, watching: subprocess.Popen[str]
) -> None:
    until(watching, "all is well")
    (source / "decision.rego").write_text(RULE.replace('"deny"', '"allow"'))
    assert "allow-by-default" in until(watching, "not well")
    (source / "decision.rego").write_text(RULE)
    until(watching, "all is well")
    watching.send_signal(signal.SIGINT)
    rest, _ = watching.communicate(timeout=30)
    assert (watching.returncode, rest) == (0, "")


def test_for_opa_envoy_plugin_its_own_entry_point_is_tried_and_its_own_input() -> None:
    plugin = REGO.parent / "docs/plugin"
    done = CliRunner().invoke(
        app, ["test", str(plugin / "rego"), "--coverage", "0", "--config", str(plugin / "aegis.yaml")]
    )
    assert done.exit_code == 0, done.output
    linted = CliRunner().invoke(app, ["lint", str(plugin / "rego"), "--config", str(plugin / "aegis.yaml")])
    assert linted.exit_code == 0, linted.output
