"""`aegis keys ...`: what is made, listed, put into use and pinned, and what is refused."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from authz.cli.keys import app
from authz.ledger import certificates, keys, trust
from authz.ledger.keyring import Keyring
from authz.ledger.outbox import Outbox
from tests import ledgers
from tests.hsm import Token


def aegis(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_keys_are_made_once_and_trust_is_what_pins_them(tmp_path: Path) -> None:
    made = aegis("generate", "--state", tmp_path)
    assert made.stdout.count(": made") == 3
    files = [tmp_path / "keys" / name for name in ("record.key", "log.key", "source.key")]
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    stored = [file.read_bytes() for file in files]
    assert aegis("generate", "--state", tmp_path).stdout.count(": kept") == 3
    assert [file.read_bytes() for file in files] == stored

    exported = aegis("export-trust", "--state", tmp_path)
    assert exported.exit_code == 0
    pinned = trust.parse(exported.stdout.encode())
    record, log = (keys.public_key(keys.load(file)) for file in files[:2])
    origins = ("aegis.local/worker-0/", "aegis.local/control/")
    assert pinned == trust.Trust(dict.fromkeys(origins, (log,)), (record,))
    assert not any(seed.decode().strip() in exported.output + made.output for seed in stored)


def test_names_and_files_of_the_settings_are_used(tmp_path: Path) -> None:
    config = tmp_path / "aegis.yaml"
    config.write_text(
        "deployment: aegis.example.com\nworker: worker-7\n"
        f"state: {tmp_path}\nledger: {{log_key: other.key}}\n"
    )
    assert aegis("generate", "--config", config).exit_code == 0
    pinned = trust.parse(aegis("export-trust", "--config", config).stdout.encode())
    log = keys.public_key(keys.load(tmp_path / "other.key"))
    origins = ("aegis.example.com/worker-7/", "aegis.example.com/control/")
    assert pinned.log_keys == dict.fromkeys(origins, (log,))


def test_one_key_is_never_used_for_both(tmp_path: Path) -> None:
    aegis("generate", "--state", tmp_path)
    for part in ("key", "key.list"):
        shutil.copy(tmp_path / "keys" / f"record.{part}", tmp_path / "keys" / f"log.{part}")
    result = aegis("export-trust", "--state", tmp_path)
    assert result.exit_code == 2
    assert "never share them" in result.stderr


def test_missing_or_open_keys_are_named_and_nothing_is_printed(tmp_path: Path) -> None:
    result = aegis("export-trust", "--state", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "record.key: No such file" in result.stderr
    aegis("generate", "--state", tmp_path)
    (tmp_path / "keys" / "log.key").chmod(0o644)
    for command in ("generate", "export-trust"):
        result = aegis(command, "--state", tmp_path)
        assert result.exit_code == 2
        assert "log.key: others may read it" in result.stderr


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "aegis.yaml").write_text("wrker: x\n")
    result = aegis("generate", "--config", tmp_path / "aegis.yaml")
    assert result.exit_code == 2
    assert "aegis.yaml:1: wrker" in result.stderr


def test_the_vkey_of_a_log_is_the_published_one() -> None:
    expected = json.loads((ledgers.VECTORS / "expected.json").read_bytes())["vkey"]
    result = aegis("vkey", expected.partition("+")[0], "--trust", ledgers.VECTORS / "trust.json")
    assert result.stdout == expected + "\n"


@pytest.mark.parametrize(
    "origin", ["a/b/c", "aegis.example.com/worker-0/a b", "aegis.example.com/worker-0/a+b", ""]
)
def test_there_is_no_vkey_for_a_log_that_is_not_pinned(origin: str) -> None:
    result = aegis("vkey", origin, "--trust", ledgers.VECTORS / "trust.json")
    assert result.exit_code == 2
    assert "no key is pinned" in result.stderr


def test_a_rotation_is_listed_pinned_and_told(tmp_path: Path) -> None:
    aegis("generate", "--state", tmp_path)
    done = aegis("rotate", "log", "--why", "as every year", "--state", tmp_path)
    assert done.exit_code == 0, done.output
    old, new = Keyring(tmp_path / "keys" / "log.key").listed()
    assert f"log key {new.kid} is in use now" in done.stdout
    assert f"the key before it signs checkpoints, too, until {new.overlap_until}" in done.stdout
    assert new.overlap_until > new.since
    lines = aegis("list", "--state", tmp_path).stdout.splitlines()
    assert [line.split()[:2] + line.split()[3:] for line in lines[1:]] == [
        ["log", old.kid, "retired"],
        ["log", new.kid, "in", "use"],
    ]
    pinned = trust.parse(aegis("export-trust", "--state", tmp_path).stdout.encode())
    assert pinned.log_keys_of("aegis.local/worker-0/e") == (old.public, new.public)
    with Outbox(tmp_path / "control.sqlite") as events:
        told = [(each.kind, each.members["action"], each.members["purpose"]) for each in events.waiting(9)]
    assert told == [("key", "generate", "record"), ("key", "generate", "log"), ("key", "rotate", "log")]


def test_there_is_no_other_key_to_rotate(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["rotate", "token", "--state", str(tmp_path)])
    assert result.exit_code == 2
    assert not (tmp_path / "keys").exists()


def test_a_revoked_key_is_listed_pinned_and_told(tmp_path: Path) -> None:
    aegis("generate", "--state", tmp_path)
    aegis("rotate", "record", "--state", tmp_path)
    old, new = Keyring(tmp_path / "keys" / "record.key").listed()
    done = aegis("revoke", old.kid, "--why", "stolen", "--at", "2026-01-01T00:00:00Z", "--state", tmp_path)
    assert done.exit_code == 0, done.output
    at = "2026-01-01T00:00:00.000000Z"
    assert f"record key {old.kid} is revoked from {at} on" in done.stdout
    assert f"revoked from {at} on: stolen" in aegis("list", "--state", tmp_path).stdout
    pinned = trust.parse(aegis("export-trust", "--state", tmp_path).stdout.encode())
    assert pinned.revoked == {old.kid: at}
    assert pinned.record_keys == (old.public, new.public)
    with Outbox(tmp_path / "control.sqlite") as events:
        told = events.waiting(9)[-1]
    assert (told.kind, told.members["action"], told.members["key_id"]) == ("key", "revoke", old.kid)
    assert (told.members["at"], told.members["why"]) == (at, "stolen")


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ("yesterday", "Invalid isoformat"),
        ("2026-01-01T00:00:00", "not in UTC"),
        ("2026-01-01T00:00:00+02:00", "not in UTC"),
    ],
)
def test_a_time_that_is_none_revokes_nothing(tmp_path: Path, at: str, why: str) -> None:
    aegis("generate", "--state", tmp_path)
    aegis("rotate", "record", "--state", tmp_path)
    old = Keyring(tmp_path / "keys" / "record.key").listed()[0]
    result = aegis("revoke", old.kid, "--why", "stolen", "--at", at, "--state", tmp_path)
    assert result.exit_code == 2
    assert why in result.stderr
    assert not Keyring(tmp_path / "keys" / "record.key").listed()[0].revoked


def test_a_key_in_use_or_unknown_is_not_revoked(tmp_path: Path) -> None:
    aegis("generate", "--state", tmp_path)
    (key,) = Keyring(tmp_path / "keys" / "log.key").listed()
    result = aegis("revoke", key.kid, "--why", "x", "--state", tmp_path)
    assert result.exit_code == 2
    assert "this key is in use; run `aegis keys rotate log` first" in result.stderr
    result = aegis("revoke", "nobody", "--why", "x", "--state", tmp_path)
    assert result.exit_code == 2
    assert "nobody: no such key" in result.stderr


def test_a_key_id_may_begin_with_a_dash(tmp_path: Path) -> None:
    aegis("generate", "--state", tmp_path)
    result = aegis("revoke", "-1wRDHtzg", "--why", "stolen", "--state", tmp_path)
    assert (result.exit_code, "-1wRDHtzg: no such key" in result.stderr) == (2, True)


# -- a root in a token


def test_with_a_root_verifiers_pin_it_and_no_record_key(tmp_path: Path) -> None:
    hsm = Token(tmp_path / "hsm")
    config = tmp_path / "aegis.yaml"
    root = {"module": str(hsm.module), "token": hsm.label, "pin_file": str(hsm.pin)}
    config.write_text(yaml.safe_dump({"state": str(tmp_path / "var"), "root": root}))
    made = aegis("root", "--config", config)
    assert made.exit_code == 0, made.output
    assert f"{tmp_path}/var/keys/root.pem: made" in made.stdout
    assert f"{tmp_path}/var/keys/root.pem: kept" in aegis("root", "--config", config).stdout
    for command in (["generate"], ["rotate", "record"]):
        result = aegis(*command, "--config", config)
        assert result.exit_code == 0, result.output
    keys_made = Keyring(tmp_path / "var" / "keys" / "record.key").listed()
    assert len(keys_made) == 2
    assert all(key.certificate for key in keys_made)
    pinned = trust.parse(aegis("export-trust", "--config", config).stdout.encode())
    assert pinned.record_keys == ()
    (certificate,) = pinned.record_roots
    assert f"root key {certificates.thumbprint(certificate)}" in made.stdout
    for key in keys_made:
        certificates.check(key.certificate, [certificate], "aegis.local/worker-0/e")


def test_without_a_root_there_is_none_to_make(tmp_path: Path) -> None:
    result = aegis("root", "--state", tmp_path)
    assert result.exit_code == 2
    assert "root.module: not set" in result.stderr
