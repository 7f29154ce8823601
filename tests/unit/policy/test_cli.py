"""`aegis policy`: what it prints, and that a refusal is a sentence and exit code 1."""

from __future__ import annotations

import json
import shlex
from hashlib import sha256
from pathlib import Path

import pytest
from typer.testing import CliRunner

from authz.cli.policy import app
from authz.config import Settings
from authz.followers.bundles import opa_command, opa_config
from authz.ledger.outbox import Outbox
from authz.policy.signing import ensure_signing_key, thumbprint
from authz.who import runs_this
from tests.policy.opa import active

REGO = """package aegis

decision := {"decision": "allow", "reason_code": "ok"} if {
	input.agent.id == "a"
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


def test_a_version_is_published_then_activated(source: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    code, said = publishing(source, "v1.0.0", "--state", state)
    assert code == 0
    assert "keys/policy.pem: made" in said
    revision = next(line for line in said.splitlines() if line.startswith("v1.0.0+"))
    assert "not cached: time.now_ns" in said
    assert active(state / "bundles") is None
    assert run("activate", "v1.0.0", "--state", state) == (0, f"{revision}\n")
    assert active(state / "bundles") == state / "bundles" / f"{revision}.tar.gz"


def publishing(source: Path, version: str, *more: object) -> tuple[int, str]:
    """A source without tests, for a reason."""
    named = ("--version", version) if version else ()
    why = () if "--why" in more else ("--why", "ticket 1")
    return run("publish", source, *named, "--coverage", 0, *why, *more)


def published(source: Path, state: Path, version: str, *more: object) -> str:
    code, said = publishing(source, version, "--state", state, *more)
    assert code == 0, said
    return next(line for line in said.splitlines() if line.startswith(f"{version}+"))


def test_the_control_log_is_told_who_made_and_activated_a_version_and_why(
    source: Path, tmp_path: Path
) -> None:
    first = published(source, tmp_path, "v1.0.0", "--why", "first", "--author", "Ana")
    assert published(source, tmp_path, "v1.0.0") == first  # nothing new, and nothing to tell
    (source / "decision.rego").write_text(REGO.replace('"a"', '"b"'))
    second = published(source, tmp_path, "v2.0.0")
    for version in ("v1.0.0", "v2.0.0", "v2.0.0"):
        assert run("activate", version, "--state", tmp_path, "--why", f"go {version}")[0] == 0
    with Outbox(tmp_path / "control.sqlite") as outbox:
        events = [event.members for event in outbox.waiting(99)]
    one, two = ({"policy_version": each[:6], "policy_digest": each[7:]} for each in (first, second))
    built_by = {"action": "publish", "key_id": thumbprint(tmp_path / "keys/policy.pem"), "who": runs_this()}
    log = [tmp_path / f"bundles/changelog/0000000{number}.json" for number in (1, 2)]
    listed = [
        {
            "changelog_sha256": sha256(file.read_bytes()).hexdigest(),
            "diff_sha256": json.loads(file.read_bytes())["release"]["changes"]["sha256"],
        }
        for file in log
    ]
    activated = {"action": "activate", "who": runs_this()}
    before = {"previous_version": "v1.0.0", "previous_digest": one["policy_digest"]}
    assert events == [
        one | built_by | listed[0] | {"why": "first", "author": "Ana"},
        two | built_by | listed[1] | {"why": "ticket 1"},
        one | activated | {"why": "go v1.0.0"},
        two | activated | before | {"why": "go v2.0.0"},
    ]


def test_what_cannot_be_told_is_not_done(source: Path, tmp_path: Path) -> None:
    published(source, tmp_path, "v1.0.0")
    (tmp_path / "control.sqlite").unlink()
    (tmp_path / "control.sqlite").mkdir()
    code, said = run("activate", "v1.0.0", "--state", tmp_path)
    assert code == 1
    assert "control.sqlite: unable to open" in said
    assert active(tmp_path / "bundles") is None
    assert publishing(source, "v2.0.0", "--state", tmp_path)[0] == 1
    assert not list((tmp_path / "bundles").glob("v2*"))


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--why", "x" * 1025, "why: not a text of 1 to 1024 characters"),
        ("--author", "two\nlines", "author: not a printable name"),
    ],
)
def test_what_the_control_log_cannot_say_is_not_done(
    source: Path, tmp_path: Path, option: str, text: str, said: str
) -> None:
    code, output = publishing(source, "v1.0.0", "--state", tmp_path, option, text)
    assert code == 1
    assert said in output
    assert not (tmp_path / "bundles").exists()


def test_opa_is_told_where_versions_are_and_whose_signature_counts(tmp_path: Path) -> None:
    pem = ensure_signing_key(tmp_path / "keys/policy.pem")
    code, said = run("opa-config", "http://follower:8282", "--state", tmp_path)
    assert (code, json.loads(said)) == (0, opa_config("http://follower:8282", pem))


def test_opa_is_told_nothing_without_a_key(tmp_path: Path) -> None:
    assert run("opa-config", "http://follower:8282", "--state", tmp_path)[0] == 1


def test_what_a_policy_reads_is_shown_with_what_is_odd_about_it(source: Path) -> None:
    (source / "decision.rego").write_text(REGO.replace("	time.", "	not input.agnet.id\n	time."))
    code, said = run("facts", source)
    assert code == 0
    table = [line for line in said.splitlines() if "decision.rego:" in line and "input." in line]
    lines = {line.split("input.")[1].split()[0]: line for line in table}
    assert "aegis.decision" in lines["agent.id"]
    assert "decision.rego:4:2" in lines["agent.id"]
    assert "always undefined" in lines["agnet.id"]
    assert "volatile" in lines['attributes.request.http.headers["x-request-id"]']
    assert "undefined" not in lines["agent.id"]
    assert "no verdict is kept: each decision asks OPA" in said
    assert "time.now_ns may answer differently each time" in said
    assert "the record has it anyway" in said
    assert "what that costs in hits is not known" in said


@pytest.mark.parametrize(
    "arguments",
    [
        (
            "publish",
            "SOURCE",
            "--version",
            "v1.0.0",
            "--why",
            "x",
            "--entry",
            "aegis/decisio",
        ),
        ("facts", "SOURCE", "--entry", "aegis/decisio"),
    ],
)
def test_a_misspelt_entry_point_is_refused(source: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    filled = [source if argument == "SOURCE" else argument for argument in arguments]
    extra = ["--state", tmp_path, "--coverage", 0] if arguments[0] == "publish" else []
    code, said = run(*filled, *extra)
    assert code == 1
    assert "aegis/decisio: no rule" in said


def test_a_version_that_is_not_published_is_not_activated(tmp_path: Path) -> None:
    code, said = run("activate", "v9", "--state", tmp_path)
    assert code == 1
    assert "v9 is not published" in said


@pytest.mark.parametrize(
    "command", ["publish", "activate", "rollback", "list", "changelog", "opa-config", "matrix"]
)
def test_a_state_directory_that_is_not_there_is_refused_and_not_made(
    source: Path, tmp_path: Path, command: str
) -> None:
    nowhere = tmp_path / "vra"
    arguments = {
        "publish": (source, "--version", "v1.0.0", "--why", "x"),
        "activate": ("v1.0.0",),
        "rollback": ("--why", "x"),
    }.get(command, ())
    code, said = run(command, *arguments, "--state", nowhere)
    assert code == 1
    assert said.startswith(f"{nowhere}: no such state directory; `aegis keys generate` makes one")
    assert not nowhere.exists()


@pytest.mark.parametrize(
    "name", ["1.4.0", "v1", "v1.4", "V1.4.0", "v1.4.0-", "v01.4.0", "v1.4.0+a", "v1.4.0 "]
)
def test_a_name_that_is_no_version_publishes_nothing(source: Path, tmp_path: Path, name: str) -> None:
    code, said = publishing(source, name, "--state", tmp_path)
    assert code == 1
    assert "a version is named vN.N.N" in said
    assert {path.name for path in tmp_path.iterdir()} == {"rego"}


@pytest.mark.parametrize("name", ["v1.4.0-rc.1", "v0.0.10-2"])
def test_a_version_may_have_a_suffix(source: Path, tmp_path: Path, name: str) -> None:
    assert publishing(source, name, "--state", tmp_path)[0] == 0


def test_versions_are_where_the_settings_say(source: Path, tmp_path: Path) -> None:
    file = tmp_path / "aegis.yaml"
    file.write_text(f"state: {tmp_path}\nfollower:\n  bundle_directory: published\n")
    assert publishing(source, "v1.0.0", "--config", file)[0] == 0
    assert run("activate", "v1.0.0", "--config", file)[0] == 0
    assert active(tmp_path / "published") is not None
    assert not (tmp_path / "bundles").exists()


def test_what_opa_is_told_is_what_the_settings_say(tmp_path: Path) -> None:
    file = tmp_path / "aegis.yaml"
    file.write_text(f"state: {tmp_path}\nfollower:\n  bundles: 127.0.0.1:8999\n")
    code, said = run("opa-config", "--config", file)
    assert (code, "the first `aegis policy publish` makes it" in said) == (1, True)
    public = ensure_signing_key(tmp_path / "keys/policy.pem")
    code, said = run("opa-config", "--config", file)
    assert (code, json.loads(said)) == (0, opa_config("http://127.0.0.1:8999", public))
    code, said = run("opa-config", "--config", file, "--command", tmp_path / "opa.json")
    socket = tmp_path / Settings().policy.opa_socket
    assert (code, shlex.split(said)) == (0, opa_command(socket, tmp_path / "opa.json"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("agent.id", "agnet.id", "undefined ref: input.agnet.id"),
        (
            '"a"',
            '"a"\n\tendswith(input.destination.host, "b.example")',
            "decision.rego:5:2: error: host-by-affix",
        ),
    ],
)
def test_what_is_misspelt_or_unsafe_is_not_published(
    source: Path, tmp_path: Path, old: str, new: str, said: str
) -> None:
    (source / "decision.rego").write_text(REGO.replace(old, new, 1))
    code, output = publishing(source, "v1.0.0", "--state", tmp_path)
    assert (code, said in output) == (1, True), output
    assert not list(tmp_path.rglob("*.tar.gz"))


def test_a_warning_is_printed_and_published(source: Path, tmp_path: Path) -> None:
    code, output = publishing(source, "v1.0.0", "--state", tmp_path)
    assert (code, "warning: changing-built-in: time.now_ns" in output) == (0, True)
