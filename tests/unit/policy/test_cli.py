"""`aegis policy`: what it prints, and that a refusal is a sentence and exit code 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from authz.cli.policy import app
from authz.followers.bundles import active, opa_config
from authz.policy.signing import ensure_signing_key

REGO = """package aegis

decision := {"decision": "allow", "reason_code": "ok"} if {
	input.agent.id == "a"
	not input.agnet.id
	input.attributes.request.http.headers["x-request-id"]
	time.now_ns() > 0
}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "rego"
    directory.mkdir()
    (directory / "decision.rego").write_text(REGO)
    return directory


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "160"})
    return done.exit_code, done.output


def test_a_version_is_built_then_activated(source: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    code, said = run("build", source, "--version", "v1", "--state", state)
    assert code == 0
    revision = said.splitlines()[0]
    assert revision.startswith("v1+")
    assert "not cached: time.now_ns" in said
    assert active(state / "bundles") is None
    assert run("activate", "v1", "--state", state) == (0, f"{revision}\n")
    assert active(state / "bundles") == state / "bundles" / f"{revision}.tar.gz"


def test_opa_is_told_where_versions_are_and_whose_signature_counts(tmp_path: Path) -> None:
    pem = ensure_signing_key(tmp_path / "keys/policy.pem")
    code, said = run("opa-config", "http://follower:8282", "--state", tmp_path)
    assert (code, json.loads(said)) == (0, opa_config("http://follower:8282", pem))


def test_opa_is_told_nothing_without_a_key(tmp_path: Path) -> None:
    assert run("opa-config", "http://follower:8282", "--state", tmp_path)[0] == 1


def test_what_a_policy_reads_is_shown_with_what_is_odd_about_it(source: Path) -> None:
    code, said = run("facts", source)
    assert code == 0
    lines = {line.split("│")[2].strip(): line for line in said.splitlines() if "input[" in line}
    assert "always undefined" in lines["input['agnet']['id']"]
    assert "volatile" in lines["input['attributes']['request']['http']['headers']['x-request-id']"]
    assert "undefined" not in lines["input['agent']['id']"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("build", "SOURCE", "--version", "v1", "--entry", "aegis/decisio"),
        ("facts", "SOURCE", "--entry", "aegis/decisio"),
    ],
)
def test_a_misspelt_entry_point_is_refused(source: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    filled = [source if argument == "SOURCE" else argument for argument in arguments]
    extra = ["--state", tmp_path] if arguments[0] == "build" else []
    code, said = run(*filled, *extra)
    assert code == 1
    assert "aegis/decisio: no rule" in said


def test_a_version_that_is_not_published_is_not_activated(tmp_path: Path) -> None:
    code, said = run("activate", "v9", "--state", tmp_path)
    assert code == 1
    assert "v9 is not published" in said
