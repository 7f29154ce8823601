"""`aegis proof`: made from a ledger, verified from files alone, and what is not proved by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from authz.cli import proof
from authz.ledger import certificates, keys, notes, proofs, trust
from authz.ledger.signer import Signer
from tests import ledgers
from tests.certifying import Root

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"


def aegis(*arguments: object) -> Result:
    result = CliRunner().invoke(proof.app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with a sealed ledger, its trust.json, and a place for files."""
    ledgers.write(tmp_path / "ledger", 300)
    pinned = trust.export(ledgers.TRUST.log_keys, ledgers.TRUST.record_keys)
    (tmp_path / "trust.json").write_bytes(pinned)
    (tmp_path / "given").mkdir()
    return tmp_path


def epoch(state: Path) -> Path:
    return state / "ledger" / "worker-0" / ledgers.EPOCH


def make(state: Path, *arguments: object) -> Result:
    places = ("--ledger", state / "ledger", "--trust", state / "trust.json", "--out", state / "given")
    return aegis(*arguments, *places)


def verify(state: Path, seq: int = 17, *arguments: object) -> Result:
    given = state / "given"
    files = (given / f"{seq}.tlog-proof", "--entry", given / f"{seq}.json")
    return aegis("verify", *files, "--trust", state / "trust.json", *arguments)


@pytest.mark.parametrize(
    "record", ["17", f"{LOG}@17", f"{ledgers.EPOCH}@17", ledgers.decision(17)["decision_id"]]
)
def test_a_record_is_proved_with_files_alone(state: Path, record: str) -> None:
    made = make(state, record)
    assert (made.exit_code, made.output.splitlines()) == (
        0,
        [str(state / "given" / "17.json"), str(state / "given" / "17.tlog-proof")],
    )
    assert (state / "given" / "17.json").read_bytes() == ledgers.read(epoch(state))[17]
    (state / "ledger").rename(state / "gone")
    said = verify(state)
    assert said.exit_code == 0
    assert f"verified      entry 17 of {LOG}" in said.output
    assert "under its checkpoint of 300 entries" in said.output
    assert ledgers.leaf(state / "gone" / "worker-0" / ledgers.EPOCH, 17) in said.output
    assert "no quorum of pinned witnesses has cosigned it" in said.output


def test_the_log_may_be_said_beside_the_number(state: Path) -> None:
    ledgers.write(state / "ledger", 30, epoch=ledgers.LATER_EPOCH)
    both = make(state, 17)
    assert both.exit_code == 2
    assert "is in 2 logs" in both.output
    assert make(state, 17, "--log", ledgers.EPOCH).exit_code == 0
    assert f"of {LOG}" in verify(state).output


def test_for_programs_it_is_one_object(state: Path) -> None:
    make(state, 17)
    said = json.loads(verify(state, 17, "--json").output)
    assert (said["log"], said["seq"], said["size"], said["cosigned_at"]) == (LOG, 17, 300, 0)
    assert said["attested_by"] == keys.thumbprint(keys.public_key(ledgers.RECORD_SEED))


def test_an_entry_as_an_editor_leaves_it_is_the_same(state: Path) -> None:
    """With a newline at its end, as it stands in the ledger."""
    make(state, 17)
    file = state / "given" / "17.json"
    file.write_bytes(file.read_bytes() + b"\n")
    assert verify(state).exit_code == 0


def test_what_no_checkpoint_covers_yet_has_no_proof(state: Path) -> None:
    ledgers.seal(epoch(state), LOG, 17)
    late = make(state, 17)
    assert late.exit_code == 1
    assert "line 18, seq 17: under no checkpoint yet: the newest one covers 17 entries" in late.output
    (epoch(state) / "checkpoint").unlink()
    assert "covers 0 entries" in make(state, 16).output
    assert not list((state / "given").iterdir())


def test_no_such_record_is_said(state: Path) -> None:
    assert make(state, 300).exit_code == 1
    assert make(state, "019b7690-ffff-7000-8000-000000000000").exit_code == 1


def test_a_ledger_that_was_changed_proves_nothing(state: Path) -> None:
    change = lambda entries: entries.__setitem__(5, entries[5].replace(b"allow", b"deny!"))  # noqa: E731
    ledgers.edit(epoch(state), change)
    made = make(state, 17)
    assert made.exit_code == 1
    assert "the root over 300 entries is not the one that was signed" in made.output
    assert not list((state / "given").iterdir())


def test_a_place_that_cannot_be_written_is_named(state: Path) -> None:
    (state / "given").rmdir()
    made = make(state, 17)
    assert made.exit_code == 2
    assert "17.json: No such file or directory" in made.output


# -- what must not verify


def attack(state: Path, what: str) -> None:
    given = state / "given"
    entry, proved = (given / f"17.{suffix}" for suffix in ("json", "tlog-proof"))
    if what == "another entry":
        entry.write_bytes(ledgers.read(epoch(state))[18])
    elif what == "one bit of the entry":
        entry.write_bytes(entry.read_bytes().replace(b"allow", b"allov"))
    elif what == "one bit of a hash":
        lines = proved.read_bytes().split(b"\n")
        lines[2] = (b"B" if lines[2][:1] == b"A" else b"A") + lines[2][1:]
        proved.write_bytes(b"\n".join(lines))
    elif what == "another place":
        proved.write_bytes(proved.read_bytes().replace(b"index 17\n", b"index 16\n"))
    elif what == "a size that was not signed":
        proved.write_bytes(proved.read_bytes().replace(b"\n300\n", b"\n301\n"))
    elif what == "another log key":
        found = proofs.parse(proved.read_bytes())
        note = notes.sign(LOG, 300, found.checkpoint.root, ledgers.OTHER_SEED)
        proved.write_bytes(proofs.write(17, list(found.siblings), note))
    elif what == "a log nobody pinned":
        found = proofs.parse(proved.read_bytes())
        note = notes.sign("other.test/worker-0/e", 300, found.checkpoint.root, ledgers.LOG_SEED)
        proved.write_bytes(proofs.write(17, list(found.siblings), note))
    else:
        proved.write_bytes(proved.read_bytes().replace(b"\n", b"\r\n"))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("another entry", "17.json, seq 17: the proof does not lead from this entry"),
        ("one bit of the entry", "17.json, seq 17: the proof does not lead from this entry"),
        ("one bit of a hash", "17.json, seq 17: the proof does not lead from this entry"),
        ("another place", "17.json, seq 16: the proof does not lead from this entry"),
        ("a size that was not signed", "17.tlog-proof: checkpoint: not signed by the pinned key of its log"),
        ("another log key", "17.tlog-proof: checkpoint: not signed by the pinned key of its log"),
        ("a log nobody pinned", "17.tlog-proof: checkpoint: no key is pinned for other.test"),
        ("CRLF", "17.tlog-proof: proof: not ASCII before its checkpoint"),
    ],
)
def test_a_forged_proof_is_named_and_not_verified(state: Path, what: str, said: str) -> None:
    make(state, 17)
    attack(state, what)
    result = verify(state)
    assert result.exit_code == 1
    assert said in result.output
    assert "verified" not in result.output


def test_an_entry_under_the_tree_that_nobody_attested_is_not_verified(state: Path) -> None:
    """The log key alone makes no record: whoever holds it can put anything under a checkpoint."""
    ledgers.rechain(epoch(state), lambda members: None, Signer(ledgers.OTHER_SEED))
    ledgers.seal(epoch(state), LOG)
    assert make(state, 17).exit_code == 0
    result = verify(state)
    assert result.exit_code == 1
    assert "17.json, seq 17: attestation: by a key that is not in trust" in result.output


def test_an_entry_of_another_log_under_this_one_s_checkpoint_is_not_verified(state: Path) -> None:
    entries = list(ledgers.chain(ledgers.story(300), f"{ledgers.WORKER}/{ledgers.LATER_EPOCH}"))
    ledgers.store(epoch(state), entries)
    ledgers.seal(epoch(state), LOG)
    assert make(state, 17, "--log", ledgers.LATER_EPOCH).exit_code == 0
    result = verify(state)
    assert result.exit_code == 1
    assert "17.json, seq 17: log: not the name of this log" in result.output


@pytest.mark.parametrize("missing", ["17.json", "17.tlog-proof"])
def test_a_file_that_is_not_there_is_named(state: Path, missing: str) -> None:
    make(state, 17)
    (state / "given" / missing).unlink()
    result = verify(state)
    assert result.exit_code == 2
    assert f"{missing}: No such file" in result.output


def test_a_record_by_a_certified_key_brings_its_certificate(state: Path) -> None:
    """Trust pins a root alone; the file beside the proof says that it vouches for the key."""
    root, other = Root(), Root()
    opening = {"record_keys": [ledgers.SIGNER.public_jwk], "certificate": root.certify(ledgers.SIGNER.public)}
    ledgers.write(state / "ledger", ledgers.story(30, opening=opening))
    (state / "trust.json").write_bytes(
        trust.export(ledgers.TRUST.log_keys, [], record_roots=[root.certificate])
    )
    made = make(state, 17)
    assert made.output.splitlines()[2:] == [str(state / "given" / "17.pem")]
    assert verify(state).exit_code == 0
    assert f"attested by   {ledgers.SIGNER.kid}" in verify(state).output
    certificate = state / "given" / "17.pem"
    certificate.write_bytes(certificates.to_pem(other.certify(ledgers.SIGNER.public)))
    refused = verify(state)
    assert refused.exit_code == 1
    assert f"{certificate}: certificate: by a root that is not in trust" in refused.output
    certificate.unlink()
    assert "attestation: by a key that is not in trust" in verify(state).output
