"""`aegis disclose`: what is kept is shown to nobody without an `access` entry."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from authz.cli.main import app
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


def run(worker: Worker, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["disclose", *arguments, "--state", str(worker.state)])


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
    from authz.ledger.disclosures import form

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
