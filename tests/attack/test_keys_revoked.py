"""A key was stolen and is revoked from a time on: what it signed counts below what others dated before that.

The thief writes any `timestamp`: only the anchor's date is believed. Here a witness saw 4 entries at 1000 s,
and 6 at 3000 s.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from authz.ledger import anchors, keys, verify
from authz.ledger.report import Report
from authz.ledger.signer import Signer
from tests import ledgers
from tests.anchored import Outside, trusting
from tests.handing import LOG, entries

OLD, NEW = ledgers.SIGNER, Signer(ledgers.OTHER_SEED)
LOG_KEY = keys.public_key(ledgers.LOG_SEED)
NEW_LOG_SEED = b"\x0a" * 32


def at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def outside(tmp_path: Path, ledger: Path) -> Outside:
    seen = Outside(tmp_path / "outside", ledgers.write(ledger, 8))
    seen.cosign(4, at=1000)
    seen.cosign(6, at=3000)
    return seen


def check(ledger: Path, outside: Outside, revoked: dict[str, str], level: int = 3) -> Report:
    pinned = trust(revoked)
    given = anchors.read([outside.directory], pinned)
    return verify.verify(ledger, pinned, level, given=given, now=4000)


def trust(revoked: dict[str, str]) -> verify.Trust:
    both = {f"{ledgers.WORKER}/": (LOG_KEY, keys.public_key(NEW_LOG_SEED))}
    return msgspec.structs.replace(
        trusting(), revoked=revoked, log_keys=both, record_keys=(OLD.public, NEW.public)
    )


@pytest.mark.parametrize(
    ("moment", "seq"), [(500, 0), (1000, 0), (1000.5, 4), (3000, 4), (3001, 6), (9999, 6)]
)
def test_entries_count_below_the_last_anchor_before_that(
    ledger: Path, outside: Outside, moment: float, seq: int
) -> None:
    report = check(ledger, outside, {OLD.kid: at(moment)})
    fault = report.first_fault
    assert fault is not None
    assert (fault.seq, fault.line) == (seq, seq + 1)
    assert fault.what == (
        f"attestation: by key {OLD.kid}, revoked from {at(moment)} on; no outside anchor dates it before that"
    )


def test_without_an_anchor_nothing_of_a_revoked_key_counts(ledger: Path, outside: Outside) -> None:
    """Every entry says that it is from January 2026, and the key was revoked in 2030."""
    fault = verify.verify(ledger, trust({OLD.kid: "2030-01-01T00:00:00.000000Z"}), 3).first_fault
    assert fault is not None
    assert fault.seq == 0


def test_a_copy_that_nobody_dated_is_no_date(tmp_path: Path, ledger: Path, outside: Outside) -> None:
    undated = Outside(tmp_path / "undated", ledger / "worker-0" / ledgers.EPOCH)
    undated.copy(8)
    fault = check(ledger, undated, {OLD.kid: at(9999)}).first_fault
    assert fault is not None
    assert fault.seq == 0


def test_what_another_key_signed_is_not_touched(ledger: Path, outside: Outside) -> None:
    assert check(ledger, outside, {NEW.kid: at(0)}).verified


def test_a_log_whose_old_key_ended_before_the_anchor_is_believed_to_its_end(
    tmp_path: Path, ledger: Path
) -> None:
    epoch = ledger / "worker-0" / ledgers.EPOCH
    ledgers.store(epoch, entries(OLD, NEW))
    ledgers.seal(epoch, LOG)
    seen = Outside(tmp_path / "seen", epoch)
    seen.cosign(3, at=1000)
    assert check(ledger, seen, {OLD.kid: at(1001)}).verified
    fault = check(ledger, seen, {NEW.kid: at(1001)}).first_fault
    assert fault is not None
    assert fault.seq == 3


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_checkpoint_by_a_revoked_log_key_has_to_be_dated_too(
    ledger: Path, outside: Outside, level: int
) -> None:
    kid = keys.thumbprint(LOG_KEY)
    fault = check(ledger, outside, {kid: at(3500)}, level).first_fault
    assert fault is not None
    assert Path(fault.file).name == "checkpoint"
    assert f"checkpoint: by key {kid}, revoked from" in fault.what
    ledgers.seal(ledger / "worker-0" / ledgers.EPOCH, LOG, 6)
    assert check(ledger, outside, {kid: at(3500)}, level).verified
    assert not check(ledger, outside, {kid: at(2500)}, level).verified


def test_a_checkpoint_that_another_log_key_signed_too_needs_no_date(ledger: Path, outside: Outside) -> None:
    epoch = ledger / "worker-0" / ledgers.EPOCH
    leaves = [ledgers.merkle.leaf_hash(entry) for entry in ledgers.read(epoch)]
    note = ledgers.notes.sign(LOG, 8, ledgers.merkle.root(leaves), ledgers.LOG_SEED, NEW_LOG_SEED)
    (epoch / "checkpoint").write_bytes(note)
    assert check(ledger, outside, {keys.thumbprint(LOG_KEY): at(500)}).verified


def test_an_anchor_by_a_revoked_log_key_contradicts_nobody(ledger: Path, outside: Outside) -> None:
    """The thief of a log key has a witness cosign a longer log, to make ours look rolled back."""
    epoch = ledger / "worker-0" / ledgers.EPOCH
    ledgers.store(epoch, ledgers.read(epoch)[:4])
    ledgers.seal(epoch, LOG, seed=NEW_LOG_SEED)
    assert "rolled back" in str(check(ledger, outside, {}).first_fault)
    report = check(ledger, outside, {keys.thumbprint(LOG_KEY): at(2000)})
    assert report.verified
    assert any(
        "00000000000000000006.cosigned: by a log key that was revoked" in one for one in report.not_checked
    )
