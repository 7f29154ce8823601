"""Anchors that nobody gave: each is named, and none of them counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.ledger import notes
from tests import ledgers
from tests.anchored import Outside
from tests.cosigning import WITNESS, cosigned, with_line
from tests.tsa import Tsa


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path / "outside", ledgers.write(tmp_path / "ledger", 6))


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa(tmp_path_factory.mktemp("tsa"))


def test_a_cosignature_made_by_somebody_else_in_the_witness_s_name(outside: Outside, tmp_path: Path) -> None:
    right = notes.parse(cosigned(outside.note(6), 1000)).signatures[-1]
    forged = notes.Signature(WITNESS.name, WITNESS.key_id, right.signature[:8] + bytes(64))
    outside.file(6, ".cosigned").write_bytes(with_line(outside.note(6), forged))
    fault = outside.found(tmp_path / "ledger")
    assert "in the name of witness.test/w1 that it did not make" in fault.what
    assert fault.file == str(outside.file(6, ".cosigned"))


def test_a_cosignature_moved_to_an_earlier_time(outside: Outside, tmp_path: Path) -> None:
    right = notes.parse(cosigned(outside.note(6), 1000)).signatures[-1]
    earlier = notes.Signature(right.name, right.key_id, (10).to_bytes(8, "big") + right.signature[8:])
    outside.file(6, ".cosigned").write_bytes(with_line(outside.note(6), earlier))
    assert "did not make" in outside.found(tmp_path / "ledger").what


def test_a_cosignature_taken_from_a_smaller_tree(outside: Outside, tmp_path: Path) -> None:
    line = notes.parse(cosigned(outside.note(3), 1000)).signatures[-1]
    outside.file(6, ".cosigned").write_bytes(with_line(outside.note(6), line))
    assert "did not make" in outside.found(tmp_path / "ledger").what


def test_a_time_stamp_of_another_digest(outside: Outside, tmp_path: Path, tsa: Tsa) -> None:
    outside.copy(6)
    outside.file(6, ".tsr").write_bytes(tsa.stamp(outside.note(5)))
    fault = outside.found(tmp_path / "ledger", tsa=tsa)
    assert fault.what == "the time stamp does not hold: Mismatch between messages"
    assert fault.file == str(outside.file(6, ".tsr"))


def test_a_time_stamp_by_an_authority_of_one_s_own(outside: Outside, tmp_path: Path, tsa: Tsa) -> None:
    outside.stamp(6, Tsa(tmp_path, "forger"))
    fault = outside.found(tmp_path / "ledger", tsa=tsa)
    assert fault.what.startswith("the time stamp does not hold")
    assert not [dated for dated in outside.read(tsa).newest(outside.log) if dated.by]


def test_an_authority_of_one_s_own_that_calls_itself_like_the_pinned_one(
    outside: Outside, tmp_path: Path, tsa: Tsa
) -> None:
    outside.stamp(6, Tsa(tmp_path, "tsa"))
    assert outside.found(tmp_path / "ledger", tsa=tsa).what.startswith("the time stamp does not hold")


def test_a_larger_checkpoint_that_the_log_did_not_sign_makes_no_rollback(
    outside: Outside, tmp_path: Path
) -> None:
    """Otherwise anybody could make every ledger look rolled back."""
    outside.file(9).write_bytes(notes.sign(outside.log, 9, b"\x09" * 32, ledgers.OTHER_SEED))
    fault = outside.found(tmp_path / "ledger")
    assert (fault.what, fault.file) == ("not signed by a pinned key of its log", str(outside.file(9)))
