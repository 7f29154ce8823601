"""`aegis config`, `aegis serve`, `aegis follow`: what is wrong is one line, with its exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from authz.cli.main import app
from authz.config import Settings
from authz.ledger import keys
from tests.pki import Authority
from tests.tokens import Issuer, write_keys
from tests.workers import Worker

TREE: dict[str, Any] = {"worker": "w-7", "listen": {"waiting": 7}}


@pytest.fixture(autouse=True)
def no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("AEGIS_"):
            monkeypatch.delenv(name)


def written(directory: Path, text: str) -> Path:
    file = directory / "aegis.yaml"
    file.write_text(text)
    return file


def aegis(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """As a process of its own: signal handlers and the event loop are the real ones."""
    return subprocess.run(
        [sys.executable, "-c", "from authz.cli.main import app; app()", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def state_with(directory: Path, *missing: str) -> Path:
    """A state directory with every key but the `missing` ones."""
    state = directory / "var"
    (state / "keys").mkdir(parents=True)
    write_keys(state / "keys/agents.jwks.json", Issuer())
    for name in ("record", "log"):
        keys.ensure(state / f"keys/{name}.key")
    for name in missing:
        (state / "keys" / name).unlink()
    return state


def test_good_settings_are_ok(tmp_path: Path) -> None:
    done = aegis("config", "check", "--config", written(tmp_path, yaml.safe_dump(TREE)))
    assert (done.exit_code, done.output) == (0, f"{tmp_path}/aegis.yaml: ok\n")


def test_without_a_file_the_defaults_are_checked() -> None:
    done = aegis("config", "check")
    assert (done.exit_code, done.output) == (0, "defaults: ok\n")


def test_every_mistake_is_named_by_file_line_and_field(tmp_path: Path) -> None:
    file = written(tmp_path, "worker: w-7\nlisten:\n  waiting: none\n  wating: 3\nledgr: {}\n")
    done = aegis("config", "check", "--config", file)
    assert (done.exit_code, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert any(line.startswith(f"{file}:3: listen.waiting: ") for line in lines)
    assert f"{file}:4: listen.wating: there is no such setting" in lines
    assert f"{file}:5: ledgr: there is no such setting" in lines


def test_a_mistake_in_the_environment_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEGIS_LISTEN__WAITING", "none")
    done = aegis("config", "check")
    assert done.exit_code == 2
    assert done.stderr.startswith("AEGIS_LISTEN__WAITING: listen.waiting: ")


@pytest.mark.parametrize("command", [("config", "check"), ("config", "show"), ("serve",), ("follow",)])
def test_no_command_goes_on_with_settings_that_cannot_be_read(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = aegis(*command, "--config", tmp_path / "nowhere.yaml")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"{tmp_path}/nowhere.yaml: No such file or directory\n"
    assert list(tmp_path.iterdir()) == []


def test_what_is_shown_can_be_read_again_and_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AEGIS_LISTEN__SOURCE_SHARE", "0.25")
    shown = aegis("config", "show", "--config", written(tmp_path, yaml.safe_dump(TREE)))
    monkeypatch.delenv("AEGIS_LISTEN__SOURCE_SHARE")
    assert shown.exit_code == 0
    read = Settings.model_validate(yaml.safe_load(shown.output))
    assert (read.worker, read.listen.waiting, read.listen.source_share) == ("w-7", 7, 0.25)
    again = aegis("config", "show", "--config", written(tmp_path, shown.output))
    assert again.output == shown.output


def test_the_reference_names_every_setting_with_its_default() -> None:
    done = aegis("config", "reference")
    assert done.exit_code == 0

    def is_section(key: str, value: Any) -> bool:
        return isinstance(value, dict) and key not in ("classes", "columns")  # these are data

    def names(tree: dict[str, Any], prefix: str = "") -> list[str]:
        return [
            name
            for key, value in tree.items()
            for name in (names(value, f"{prefix}{key}.") if is_section(key, value) else [prefix + key])
        ]

    told = [line.partition(" = ")[0] for line in done.output.splitlines() if not line.startswith(" ")]
    assert told == names(Settings().model_dump())
    assert "limits.body_bytes = 65536\n" in done.output


@pytest.mark.parametrize("missing", ["agents.jwks.json", "record.key", "log.key"])
def test_a_worker_without_a_key_does_not_start_and_names_it(tmp_path: Path, missing: str) -> None:
    state = state_with(tmp_path, missing)
    done = process("serve", "--config", written(tmp_path, yaml.safe_dump({"state": str(state)})))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{state}/keys/{missing}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(state.glob("**/*.jsonl"))


def test_a_key_that_others_can_read_is_no_key(tmp_path: Path) -> None:
    state = state_with(tmp_path)
    (state / "keys/record.key").chmod(0o644)
    done = process("serve", "--config", written(tmp_path, yaml.safe_dump({"state": str(state)})))
    assert done.returncode == 2
    assert f"{state}/keys/record.key" in done.stderr
    seed = (state / "keys/record.key").read_text().strip()
    assert seed not in done.stderr


async def test_a_worker_whose_ledger_another_one_holds_does_not_start(worker: Worker, tmp_path: Path) -> None:
    write_keys(worker.state / "keys/agents.jwks.json", Issuer())
    tree = {"state": str(worker.state), "deployment": "aegis.test", "listen": {"metrics": ""}}
    async with worker.running():
        done = process("serve", "--config", written(tmp_path, yaml.safe_dump(tree)))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"{worker.root}: another process writes this ledger"
    assert len(worker.epochs) == 1


@pytest.mark.parametrize("missing", ["record.key", "log.key", "agents.jwks.json"])
def test_config_check_reads_the_files_that_a_start_needs(tmp_path: Path, missing: str) -> None:
    whole = written(tmp_path, f"state: {state_with(tmp_path)}\n")
    assert aegis("config", "check", "-c", whole, "--files").exit_code == 0
    (tmp_path / "var/keys" / missing).unlink()
    assert aegis("config", "check", "-c", whole).exit_code == 0
    done = aegis("config", "check", "-c", whole, "--files")
    assert (done.exit_code, missing in done.stderr) == (2, True)
    assert ("run `aegis keys generate`" in done.stderr) is missing.endswith(".key")


def test_config_check_reads_the_files_of_tls_and_the_issuers_authorities(tmp_path: Path) -> None:
    state = state_with(tmp_path)
    authority = Authority(state)
    authority.sign("own", "aegis")
    tls = {"certificate": "own.pem", "private_key": "own.key", "client_ca": "ca.pem", "envoy": ["dns:envoy"]}
    tree = {
        "state": str(state),
        "listen": {"check": "127.0.0.1:0", "tls": tls},
        "identity": {"jwks_url": "https://issuer.example/jwks", "jwks_ca": "ca.pem"},
    }
    whole = written(tmp_path, yaml.safe_dump(tree))
    (state / "keys/agents.jwks.json").unlink()  # not asked for, and neither is the issuer
    assert aegis("config", "check", "-c", whole, "--files").exit_code == 0
    authority.sign("own", "aegis").key.chmod(0o644)
    done = aegis("config", "check", "-c", whole, "--files")
    assert (done.exit_code, "own.key: others may read it" in done.stderr) == (2, True)
    authority.sign("own", "aegis").key.chmod(0o600)
    tree["identity"]["jwks_ca"] = "none.pem"  # type: ignore[index]
    done = aegis("config", "check", "-c", written(tmp_path, yaml.safe_dump(tree)), "--files")
    assert (done.exit_code, "none.pem: No such file" in done.stderr) == (2, True)
