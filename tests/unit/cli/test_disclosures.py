"""`aegis disclose`: what is kept is shown to nobody without an `access` entry."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from authz.cli.main import app
from authz.ledger import trust
from authz.ledger.disclosures import form
from authz.ledger.disclosures import vault as vaults
from authz.ledger.outbox import Outbox
from tests import disclosed, ledgers
from tests.workers import Worker


@pytest.fixture
async def keeping(worker: Worker) -> Worker:
    await disclosed.decide(disclosed.keeps(worker), 3)
    return worker


def decision_id(number: int) -> str:
    return str(ledgers.decision(number)["decision_id"])


def run(worker: Worker, *arguments: str, command: str = "disclose") -> Any:
    return CliRunner().invoke(app, [command, *arguments, "--state", str(worker.state)])


def events(worker: Worker) -> list[dict[str, Any]]:
    with Outbox(worker.settings.outbox) as outbox:
        return [{"kind": event.kind} | event.members for event in outbox.waiting(100)]


def test_it_shows_what_is_kept_and_says_who_read_it(keeping: Worker) -> None:
    done = run(keeping, decision_id(1), "--why", "complaint 17")
    assert (done.exit_code, "person-1" in done.output, "192.0.2.1" in done.output) == (0, True, True)
    (event,) = events(keeping)
    entry = keeping.check()[-1][2]
    assert event.pop("who")
    assert event == {
        "kind": "access",
        "why": "complaint 17",
        "of": entry["log"],
        "at_seq": 2,
        "decision_id": decision_id(1),
        "names": ["client_address", "facts"],
    }


def test_for_programs_it_gives_the_disclosures_themselves(keeping: Worker) -> None:
    found = json.loads(run(keeping, decision_id(2), "--why", "x", "--json").output)
    assert [each["name"] for each in found["disclosures"]] == ["facts", "client_address"]
    assert found["not_here"] == 0


def test_without_the_entry_nothing_is_read_out(keeping: Worker) -> None:
    keeping.settings.outbox.mkdir()  # SQLite can put nothing here
    done = run(keeping, decision_id(1), "--why", "x")
    assert done.exit_code == 2
    assert "person-1" not in done.output
    assert "outbox" in done.output


@pytest.mark.parametrize("why", ["", "x" * 2000])
def test_a_reason_that_no_entry_can_hold_is_refused_before_anything_is_shown(
    keeping: Worker, why: str
) -> None:
    done = run(keeping, decision_id(1), "--why", why)
    assert (done.exit_code, "person-1" in done.output) == (2, False)
    assert events(keeping) == []


def test_once_its_key_is_destroyed_there_is_nothing_to_read_and_no_entry(keeping: Worker) -> None:
    vault = disclosed.vault(keeping)
    for stored in vault.stored(keeping.epochs[-1]):
        vault.destroy(stored)
    done = run(keeping, decision_id(1), "--why", "x")
    assert (done.exit_code, done.output) == (0, "2 of its disclosures are not here: erased, or lost\n")
    assert events(keeping) == []


def test_a_wrapping_key_that_others_may_read_is_refused(keeping: Worker) -> None:
    (keeping.state / "keys" / "disclosures.key").chmod(0o644)
    done = run(keeping, decision_id(1), "--why", "x")
    assert (done.exit_code, "others may read it" in done.output) == (2, True)


def test_what_does_not_fit_its_entry_is_not_shown(keeping: Worker, tmp_path: Path) -> None:
    """Whoever holds the keys of disclosures cannot pass another one off as this entry's."""
    keeping.judged = True
    file = disclosed.file(keeping)
    forged = form.plain(decision_id(1), 2, [form.make("facts", {"input": "forged"}, b"1" * 16)])
    file.write_bytes(forged + b"\n")
    done = run(keeping, decision_id(1), "--why", "x")
    assert (done.exit_code, "forged" in done.output) == (1, False)
    assert f"{file}, line 1, seq 2: a disclosure that is not among the digests" in done.output
    assert events(keeping) == []


def test_a_decision_that_is_not_here_is_said(keeping: Worker) -> None:
    done = run(keeping, decision_id(99), "--why", "x")
    assert (done.exit_code, "no decision" in done.output) == (1, True)
    assert vaults.KEY_BYTES == 32


DEPLOYMENT = {"AEGIS_DEPLOYMENT": "aegis.test"}


def erase(worker: Worker, *arguments: str) -> Any:
    return CliRunner(env=DEPLOYMENT).invoke(app, ["erase", *arguments, "--state", str(worker.state)])


def test_erasing_says_so_first_and_then_there_is_nothing_to_read(keeping: Worker) -> None:
    done = erase(keeping, "--agent", "b", "--why", "request 7")
    assert (done.exit_code, "erased 2 disclosures" in done.output) == (0, True)
    (event,) = events(keeping)
    assert (event["kind"], event["by"], event["count"], event["why"]) == ("erasure", "agent", 2, "request 7")
    salt = done.output.split("salt ")[1].split(":")[0]
    assert event["value_digest"] == hashlib.sha256(f"{salt}\nb".encode()).hexdigest()
    assert "not here" in run(keeping, decision_id(1), "--why", "x").output
    assert "person-2" in run(keeping, decision_id(2), "--why", "x").output


def test_a_dry_run_counts_and_changes_nothing(keeping: Worker) -> None:
    done = erase(keeping, "--subject", "person-0", "--dry-run")
    assert (done.exit_code, done.output.endswith(": 2 disclosures\n")) == (0, True)
    assert events(keeping) == []
    assert "person-0" in run(keeping, decision_id(0), "--why", "x").output


def test_by_time_everything_of_it_goes(keeping: Worker) -> None:
    assert "nothing is kept that is meant" in erase(keeping, "--to", "2001-01-01", "--why", "old").output
    done = erase(keeping, "--from", "2001-01-01T00:00:00+02:00", "--to", "2100-01-01", "--why", "old")
    assert "erased 6 disclosures" in done.output
    assert [event["from"] for event in events(keeping)] == ["2000-12-31T22:00:00.000000Z"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--agent", "a", "--subject", "b", "--why", "x"], "only one of them"),
        (["--agent", "a"], "--why: an erasure needs a reason"),
        (["--from", "yesterday", "--why", "x"], "--from: yesterday: not RFC 3339"),
        (["--from", "2026-02-01", "--to", "2026-01-01", "--why", "x"], "--from is not before --to"),
    ],
)
def test_an_unclear_wish_is_refused_and_changes_nothing(
    keeping: Worker, arguments: list[str], said: str
) -> None:
    done = erase(keeping, *arguments)
    assert (done.exit_code, said in done.output) == (2, True)
    assert events(keeping) == []
    assert "person-0" in run(keeping, decision_id(0), "--why", "x").output


def test_without_a_wish_it_finishes_what_is_unfinished(keeping: Worker) -> None:
    assert "nothing is unfinished" in erase(keeping).output


def test_verify_opens_disclosures_for_whoever_has_the_keys(keeping: Worker, tmp_path: Path) -> None:
    trust_file = tmp_path / "trust.json"
    trust_file.write_bytes(
        trust.export(
            {"aegis.test/worker-0/": ledgers.TRUST.log_keys["aegis.test/worker-0/"]},
            ledgers.TRUST.record_keys,
        )
    )
    plain = CliRunner().invoke(app, ["verify", str(keeping.root), "--trust", str(trust_file)])
    assert (plain.exit_code, "disclosures: 6 encrypted, not opened" in plain.output) == (0, True)
    opened = run(keeping, str(keeping.root), "--trust", str(trust_file), command="verify")
    assert (opened.exit_code, "disclosures: 6 fit their entries" in opened.output) == (0, True)
