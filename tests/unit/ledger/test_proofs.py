"""Inclusion proofs out of segments: the tree's own, whatever the size, and never one that leads elsewhere."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import pytest

from authz.errors import IntegrityViolation
from authz.ledger import merkle, notes
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name
from authz.ledger.proofs import Proofs
from tests import ledgers

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"
PER_SEGMENT = 4
ENTRIES = [f"entry {number}".encode() for number in range(23)]
LEAVES = [merkle.leaf_hash(entry) for entry in ENTRIES]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Short segments, named as full ones are."""
    (tmp_path / "entries").mkdir()
    for number in range(0, len(ENTRIES), PER_SEGMENT):
        data = b"".join(entry + b"\n" for entry in ENTRIES[number : number + PER_SEGMENT])
        name = segment_name(number // PER_SEGMENT * SEGMENT_ENTRIES)
        (tmp_path / "entries" / name).write_bytes(data)
    return tmp_path


def note(size: int, root: bytes | None = None) -> bytes:
    return notes.sign(LOG, size, root or merkle.root(LEAVES[:size]), ledgers.LOG_SEED)


@pytest.mark.parametrize("size", range(1, len(ENTRIES) + 1))
def test_every_entry_is_proved_under_every_checkpoint(log: Path, size: int) -> None:
    proofs = Proofs(PER_SEGMENT)
    for seq in range(size):
        proof = proofs.prove(log, seq, note(size))
        head, _, checkpoint = proof.partition(b"\n\n")
        version, index, *siblings = head.decode().split("\n")
        assert (version, index, checkpoint) == ("c2sp.org/tlog-proof@v1", f"index {seq}", note(size))
        assert list(map(b64decode, siblings)) == merkle.inclusion_proof(LEAVES[:size], seq)


def test_one_reader_serves_growing_checkpoints(log: Path) -> None:
    """What it keeps of full segments stays right, and a segment that was not full is not kept."""
    proofs = Proofs(PER_SEGMENT)
    for size in range(1, len(ENTRIES) + 1):
        proofs.prove(log, 0, note(size))


def test_a_root_that_the_entries_do_not_lead_to_is_a_violation(log: Path) -> None:
    with pytest.raises(IntegrityViolation, match="the root over 9 entries is not the one that was signed"):
        Proofs(PER_SEGMENT).prove(log, 3, note(9, bytes(32)))


def test_a_segment_that_ends_too_early_is_a_violation(log: Path) -> None:
    file = log / "entries" / segment_name(SEGMENT_ENTRIES)
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(IntegrityViolation, match=r"line 4, seq 7: the entry is missing"):
        Proofs(PER_SEGMENT).prove(log, 0, note(23))
