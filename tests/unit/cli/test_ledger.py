"""`aegis verify`, `aegis show`: exit status, what is said, what never reaches a terminal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from authz.cli import ledger, verify
from authz.ledger import trust
from tests import ledgers
from tests.certifying import Root

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(verify.verify)
app.command()(ledger.show)
LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"


def aegis(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with a sealed ledger and its trust.json."""
    ledgers.write(tmp_path / "ledger", 5)
    prefix, log = next(iter(ledgers.TRUST.log_keys.items()))
    (tmp_path / "trust.json").write_bytes(trust.export({prefix: log}, ledgers.TRUST.record_keys))
    return tmp_path


def break_entry(state: Path) -> None:
    epoch = state / "ledger" / "worker-0" / ledgers.EPOCH
    ledgers.edit(epoch, lambda entries: entries.__setitem__(2, entries[2].replace(b"allow", b"deny!")))


# -- verify


@pytest.mark.parametrize("option", ["--json", "--level=3"])
@pytest.mark.parametrize("broken", [False, True])
def test_a_reader_that_has_seen_enough_changes_no_verdict(state: Path, broken: bool, option: str) -> None:
    """As in `aegis verify ... | head -1`."""
    if broken:
        break_entry(state)
    arguments = ["verify", str(state / "ledger"), "--trust", str(state / "trust.json"), option]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        command = [sys.executable, "-c", "from authz.cli.main import app; app()", *arguments]
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1 if broken else 0, b"")


def test_a_reader_that_has_seen_enough_of_a_record_is_no_fault(state: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    arguments = ["show", "0", "--ledger", str(state / "ledger")]
    with os.fdopen(writer, "wb") as out:
        command = [sys.executable, "-c", "from authz.cli.main import app; app()", *arguments]
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_ledger_that_verifies_ends_with_0_and_says_what_was_not_checked(state: Path) -> None:
    result = aegis("verify", state / "ledger", "--trust", state / "trust.json")
    assert result.exit_code == 0
    assert result.stdout.startswith("verified      1 log, 5 entries, level 3\n")
    for words in (LOG, "5 sealed, 0 not yet sealed", "not checked", "no outside anchor", "completeness"):
        assert words in result.stdout, words


def test_a_copy_at_rest_is_verified_only_where_a_checkpoint_covers_it(state: Path) -> None:
    arguments = ("verify", state / "ledger", "--trust", state / "trust.json")
    epoch = state / "ledger" / "worker-0" / ledgers.EPOCH
    assert aegis(*arguments, "--sealed").exit_code == 0
    (epoch / "checkpoint").unlink()
    ledgers.edit(epoch, lambda entries: entries.pop())
    living = aegis(*arguments)
    assert (living.exit_code, living.stdout.splitlines()[1].split()[:3]) == (0, ["4", "of", "them"])
    at_rest = aegis(*arguments, "--sealed")
    assert at_rest.exit_code == 1
    assert at_rest.stdout.startswith(f"NOT VERIFIED  {epoch}, seq 0: from seq 0 on no checkpoint covers")


def test_a_fault_ends_with_1_and_is_named_by_file_line_and_seq(state: Path) -> None:
    break_entry(state)
    result = aegis("verify", state / "ledger", "--trust", state / "trust.json")
    assert result.exit_code == 1
    file = state / "ledger" / "worker-0" / ledgers.EPOCH / "entries" / "00000000.jsonl"
    assert result.stdout.splitlines()[0].startswith(f"NOT VERIFIED  {file}, line 3, seq 2: attestation: ")


@pytest.mark.parametrize("level", [1, 2, 3])
def test_json_says_the_same_for_programs(state: Path, level: int) -> None:
    arguments = ("verify", state / "ledger", "--trust", state / "trust.json", "--json", "--level", level)
    good = json.loads(aegis(*arguments).stdout)
    assert (good["verified"], good["level"], good["first_fault"]) == (True, level, None)
    assert good["logs"][0]["log"] == LOG
    assert good["exposure"]
    break_entry(state)
    result = aegis(*arguments)
    bad = json.loads(result.stdout)
    assert result.exit_code == 1
    assert not bad["verified"]
    assert bad["first_fault"]["seq"] == {1: -1, 2: 3, 3: 2}[level]


def test_unfinished_unsealed_and_lost_evidence_is_said(state: Path) -> None:
    gap = {"kind": "gap", "old_log": "a/b/lost", "good_entries": 7, "why": "power failed"}
    said = [{"kind": "open"}, gap, *([{"kind": "gap"}] * 150)]
    epoch = ledgers.write(state / "ledger", iter(said), epoch=ledgers.LATER_EPOCH)
    ledgers.seal(epoch, f"{ledgers.WORKER}/{epoch.name}", 2)
    with (epoch / "entries" / "00000000.jsonl").open("ab") as file:
        file.write(b'{"x')
    result = aegis("verify", state / "ledger", "--trust", state / "trust.json")
    assert result.exit_code == 0
    for words in (
        "2 logs, 157 entries",
        "152 entries: 2 sealed, 150 not yet sealed",
        "an incomplete last line of 3 bytes: an unfinished write",
        "gap: a/b/lost after its first 7 entries: power failed",
        "and 51 more gaps",
        "not checked: log a/b/lost",
    ):
        assert words in result.stdout, words


@pytest.mark.parametrize("missing", ["ledger", "trust.json"])
def test_what_cannot_be_read_ends_with_2_and_one_line(state: Path, missing: str) -> None:
    path = state / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    result = aegis("verify", state / "ledger", "--trust", state / "trust.json")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [f"{path}: No such file or directory"]
    assert not result.stdout


@pytest.mark.parametrize("text", ["", "{}", '{"log_keys": {}, "record_keys": [{"kty": "oct"}]}'])
def test_a_bad_trust_file_ends_with_2_and_one_line(state: Path, text: str) -> None:
    (state / "trust.json").write_text(text)
    result = aegis("verify", state / "ledger", "--trust", state / "trust.json")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"{state / 'trust.json'}: ")


def test_a_directory_without_a_log_is_not_called_verified(state: Path) -> None:
    (state / "empty").mkdir()
    result = aegis("verify", state / "empty", "--trust", state / "trust.json")
    assert result.exit_code == 2
    assert "no log here" in result.stderr


@pytest.mark.parametrize("level", ["0", "4", "x"])
def test_there_are_three_levels(state: Path, level: str) -> None:
    result = aegis("verify", state / "ledger", "--trust", state / "trust.json", "--level", level)
    assert result.exit_code == 2


def test_trust_is_never_taken_from_the_ledger(state: Path) -> None:
    assert aegis("verify", state / "ledger").exit_code == 2


# -- show


@pytest.mark.parametrize(
    "record", ["2", f"{LOG}@2", f"{ledgers.EPOCH}@2", ledgers.decision(2)["decision_id"]]
)
def test_a_record_is_shown_with_hash_place_and_attestation(state: Path, record: str) -> None:
    result = aegis("show", record, "--ledger", state / "ledger")
    assert result.exit_code == 0, result.stderr
    epoch = state / "ledger" / "worker-0" / ledgers.EPOCH
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["decision"] == "allow"
    assert lines["agent_id"] == "billing-agent"
    assert lines["entry"].split() == ["hash", ledgers.leaf(epoch, 2)]
    assert lines["place"] == f"{epoch / 'entries' / '00000000.jsonl'}, line 3"
    assert lines["attestation"] == f"verified: by the pinned key {ledgers.SIGNER.kid}"


def test_a_shown_record_is_json_for_programs(state: Path) -> None:
    epoch = state / "ledger" / "worker-0" / ledgers.EPOCH
    tree = json.loads(aegis("show", "2", "--ledger", state / "ledger", "--json").stdout)
    assert tree["entry"] == ledgers.members(epoch)[2]
    assert tree["entry_hash"] == ledgers.leaf(epoch, 2)
    assert (tree["file"], tree["line"]) == (str(epoch / "entries" / "00000000.jsonl"), 3)
    assert tree["attestation"].startswith("verified")


def test_without_trust_nothing_is_claimed(state: Path) -> None:
    (state / "trust.json").unlink()
    result = aegis("show", "2", "--ledger", state / "ledger")
    assert result.exit_code == 0
    assert "not checked: no trust.json was given" in result.stdout


def test_a_changed_record_is_shown_as_not_verified(state: Path) -> None:
    break_entry(state)
    result = aegis("show", "2", "--ledger", state / "ledger", "--trust", state / "trust.json")
    assert result.exit_code == 1
    assert "NOT VERIFIED: attestation: it is of another entry" in result.stdout


def test_a_record_that_was_moved_is_shown_as_not_verified(state: Path) -> None:
    epoch = state / "ledger" / "worker-0" / ledgers.EPOCH
    ledgers.edit(epoch, lambda entries: entries.insert(0, entries[2]))
    result = aegis("show", "0", "--ledger", state / "ledger")
    assert result.exit_code == 1
    assert "NOT VERIFIED: seq" in result.stdout


def test_what_is_not_there_ends_with_1(state: Path) -> None:
    for record in ("77", "019b7690-ffff-7000-8000-000000000000", f"{LOG}@77", "other@2", "@", "²", "9" * 40):
        result = aegis("show", record, "--ledger", state / "ledger")
        assert result.exit_code == 1, record
        assert len(result.stderr.splitlines()) == 1


def test_a_place_in_several_logs_has_to_be_said_in_full(state: Path) -> None:
    ledgers.write(state / "ledger", 3, epoch=ledgers.LATER_EPOCH)
    result = aegis("show", "2", "--ledger", state / "ledger")
    assert result.exit_code == 2
    assert f"{LOG}@2" in result.stderr
    assert f"{ledgers.WORKER}/{ledgers.LATER_EPOCH}@2" in result.stderr


def test_an_unreadable_record_is_named(state: Path) -> None:
    ledgers.edit(
        state / "ledger" / "worker-0" / ledgers.EPOCH, lambda entries: entries.__setitem__(2, b"{ }")
    )
    result = aegis("show", "2", "--ledger", state / "ledger")
    assert result.exit_code == 1
    assert "line 3, seq 2: not in canonical form" in result.stderr


ESCAPES = "\x1b]0;pwned\x07\x1b[2J\x9b31m\u202e[bold]\n"


def test_what_a_record_holds_cannot_drive_the_terminal(state: Path) -> None:
    said = ledgers.decision(1) | {
        "tool": ESCAPES,
        "context": {ESCAPES.encode("ascii", "ignore").decode(): ESCAPES},
    }
    gap = {"kind": "gap", "old_log": ESCAPES, "why": ESCAPES}
    ledgers.write(state / "ledger", iter([{"kind": "open"}, said, gap]), epoch=ledgers.LATER_EPOCH)
    shown = aegis("show", f"{ledgers.LATER_EPOCH}@1", "--ledger", state / "ledger").stdout
    verified = aegis("verify", state / "ledger", "--trust", state / "trust.json").stdout
    assert "[bold]" in shown
    for text in (shown, verified):
        assert r"\x1b]0;pwned" in text
        assert all(character.isprintable() or character == "\n" for character in text)


def test_nor_can_the_name_of_a_file_or_of_what_was_asked_for(state: Path) -> None:
    epoch = state / "ledger" / "worker-0" / ledgers.EPOCH
    (epoch / "entries" / "\x1b[2J\udcff").touch()
    verified = aegis("verify", state / "ledger", "--trust", state / "trust.json")
    assert r"\x1b[2J\udcff" in verified.stdout
    as_json = aegis("verify", state / "ledger", "--trust", state / "trust.json", "--json")
    assert json.loads(as_json.stdout)["logs"][0]["not_checked"] == ["entries/\x1b[2J\udcff"]
    asked = aegis("show", "\x1b[2J", "--ledger", state / "ledger")
    epoch.rename(state / "ledger" / "worker-0" / "\x1b[2J")
    faulty = aegis("verify", state / "ledger", "--trust", state / "trust.json")
    assert faulty.exit_code == 1
    for result in (verified, as_json, asked, faulty):
        assert "\x1b" not in result.output


def test_a_record_by_a_certified_key_is_shown_as_verified(tmp_path: Path) -> None:
    root = Root()
    opening = {"record_keys": [ledgers.SIGNER.public_jwk], "certificate": root.certify(ledgers.SIGNER.public)}
    ledgers.write(tmp_path / "ledger", ledgers.story(5, opening=opening))
    (tmp_path / "trust.json").write_bytes(
        trust.export(ledgers.TRUST.log_keys, [], record_roots=[root.certificate])
    )
    shown = aegis("show", 3, "--ledger", tmp_path / "ledger")
    assert shown.exit_code == 0
    assert f"verified: by the pinned key {ledgers.SIGNER.kid}" in shown.stdout
    other = trust.export(ledgers.TRUST.log_keys, [], record_roots=[Root().certificate])
    (tmp_path / "trust.json").write_bytes(other)
    assert aegis("show", 3, "--ledger", tmp_path / "ledger").exit_code == 1


def test_a_record_by_a_revoked_key_is_not_shown_as_verified(tmp_path: Path) -> None:
    ledgers.write(tmp_path / "ledger", 5)
    revoked = {ledgers.SIGNER.kid: "2026-01-01T00:00:00.000000Z"}
    (tmp_path / "trust.json").write_bytes(
        trust.export(ledgers.TRUST.log_keys, ledgers.TRUST.record_keys, revoked=revoked)
    )
    shown = aegis("show", 3, "--ledger", tmp_path / "ledger")
    assert shown.exit_code == 1
    assert "revoked from 2026-01-01T00:00:00.000000Z on" in shown.stdout
