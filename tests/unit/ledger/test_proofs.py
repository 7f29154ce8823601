"""Proof files: the published one, those of a real log through two segments, and everything that is none."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from authz.errors import IntegrityViolation
from authz.ledger import keys, merkle, notes, proofs
from authz.ledger.journal import SEGMENT_ENTRIES
from authz.ledger.proofs import Proofs
from tests import ledgers
from tests.unit.ledger import golden

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"
ENTRIES = [f"entry {number}".encode() for number in range(SEGMENT_ENTRIES + 700)]
LEAVES = [merkle.leaf_hash(entry) for entry in ENTRIES]
GOLDEN = golden.TEXT[golden.TEXT.index(proofs.HEADER) :].encode()
HEAD, _, NOTE = GOLDEN.partition(b"\n\n")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    epoch = tmp_path_factory.mktemp("log")
    ledgers.store(epoch, ENTRIES)
    return epoch


def note(size: int, root: bytes | None = None) -> bytes:
    return notes.sign(LOG, size, root or merkle.root(LEAVES[:size]), ledgers.LOG_SEED)


def test_the_published_proof_is_read_and_written_as_it_is() -> None:
    found = proofs.parse(GOLDEN)
    assert (found.index, list(found.siblings)) == (golden.INDEX, golden.PROOF)
    found.check(golden.ENTRIES[golden.INDEX])
    assert notes.signed_by(found.checkpoint, keys.public_key(golden.LOG_SEED))
    assert proofs.write(golden.INDEX, golden.PROOF, golden.NOTE) == GOLDEN


@pytest.mark.parametrize("size", [1, 700, SEGMENT_ENTRIES, SEGMENT_ENTRIES + 1, len(ENTRIES)])
def test_entries_of_a_log_are_proved_under_each_checkpoint(log: Path, size: int) -> None:
    made = Proofs()
    for seq in {0, size // 3, size - 1}:
        found = proofs.parse(made.prove(log, seq, note(size)))
        assert (found.index, found.checkpoint) == (seq, notes.parse(note(size)))
        found.check(ENTRIES[seq])
        with pytest.raises(ValueError, match="does not lead"):
            found.check(ENTRIES[seq] + b" ")


def test_one_reader_serves_growing_checkpoints(log: Path) -> None:
    made = Proofs()
    for size in (1, 255, 256, 257, 700, SEGMENT_ENTRIES, SEGMENT_ENTRIES + 300, 10):
        proofs.parse(made.prove(log, size - 1, note(size))).check(ENTRIES[size - 1])


def test_an_entry_that_the_checkpoint_does_not_cover_has_no_proof(log: Path) -> None:
    with pytest.raises(IndexError, match="no entry 9"):
        Proofs().prove(log, 9, note(9))


def test_a_root_that_the_entries_do_not_lead_to_is_a_violation(log: Path) -> None:
    with pytest.raises(IntegrityViolation, match="the root over 9 entries is not the one that was signed"):
        Proofs().prove(log, 3, note(9, bytes(32)))


def test_a_log_that_ends_before_its_checkpoint_is_a_violation(log: Path) -> None:
    with pytest.raises(
        IntegrityViolation, match=r"00000001\.jsonl, line 701, seq 66236: the entry is missing"
    ):
        Proofs().prove(log, 0, note(len(ENTRIES) + 1, bytes(32)))


def test_no_more_logs_are_kept_than_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "MAX_TREES", 2)
    made = Proofs()
    for name in "abcab":
        ledgers.store(tmp_path / name, ENTRIES[:3])
        proofs.parse(made.prove(tmp_path / name, 1, note(3))).check(ENTRIES[1])
    assert len(made._trees) == 2


def test_extra_data_of_others_is_passed_over() -> None:
    bent = GOLDEN.replace(b"\nindex", b"\nextra YWVnaXM=\nindex", 1)
    assert proofs.parse(bent) == proofs.parse(GOLDEN)


BENT = {
    "empty": b"",
    "another version": GOLDEN.replace(b"@v1", b"@v2"),
    "no header": GOLDEN.partition(b"\n")[2],
    "no index": GOLDEN.replace(b"index 1\n", b""),
    "a leading zero": GOLDEN.replace(b"index 1\n", b"index 01\n"),
    "a sign": GOLDEN.replace(b"index 1\n", b"index +1\n"),
    "a negative index": GOLDEN.replace(b"index 1\n", b"index -1\n"),
    "an index of 20 digits": GOLDEN.replace(b"index 1\n", b"index 10000000000000000000\n"),
    "two spaces": GOLDEN.replace(b"index 1\n", b"index  1\n"),
    "CRLF": GOLDEN.replace(b"\n", b"\r\n"),
    "CR in one line": GOLDEN.replace(b"index 1\n", b"index 1\r\n"),
    "extra after the index": GOLDEN.replace(b"index 1\n", b"index 1\nextra YWVnaXM=\n"),
    "extra twice": GOLDEN.replace(b"\nindex", b"\nextra YWVnaXM=\nextra YWVnaXM=\nindex"),
    "extra that is not base64": GOLDEN.replace(b"\nindex", b"\nextra !\nindex"),
    "a hash of 31 bytes": GOLDEN.replace(b"\n\n", b"\n" + b64encode(bytes(31)) + b"\n\n", 1),
    "base64url": GOLDEN.replace(b"\n\n", b"\n" + b"_" * 43 + b"=\n\n", 1),
    "base64 with spare bits": GOLDEN.replace(b"ek=\n", b"el=\n"),
    "65 hashes": HEAD + (b"\n" + b64encode(bytes(32))) * 65 + b"\n\n" + NOTE,
    "no checkpoint": HEAD + b"\n\n",
    "no blank line": GOLDEN.replace(b"\n\n", b"\n", 1),
    "two blank lines": GOLDEN.replace(b"\n\n", b"\n\n\n", 1),
    "something behind it": GOLDEN + b"\n",
    "not ASCII": GOLDEN.replace(b"index 1", "index ١".encode()),
    "too long": GOLDEN.replace(b"\nindex", b"\nextra " + b"A" * proofs.MAX_PROOF + b"\nindex"),
}


@pytest.mark.parametrize("bent", BENT.values(), ids=BENT.keys())
def test_a_file_that_is_not_the_one_form_is_refused(bent: bytes) -> None:
    assert bent != GOLDEN
    with pytest.raises(ValueError):
        proofs.parse(bent)


@pytest.mark.parametrize("change", ["index 0", "index 4", "index 5", "a hash less", "a hash more", "swapped"])
def test_a_bent_proof_proves_nothing(change: str) -> None:
    found = proofs.parse(GOLDEN)
    index, siblings = found.index, found.siblings
    if change.startswith("index"):
        index = int(change[6:])
    elif change == "a hash less":
        siblings = siblings[:-1]
    elif change == "a hash more":
        siblings = (*siblings, bytes(32))
    else:
        siblings = siblings[::-1]
    with pytest.raises(ValueError):
        proofs.Proof(index, siblings, found.note, found.checkpoint).check(golden.ENTRIES[1])
