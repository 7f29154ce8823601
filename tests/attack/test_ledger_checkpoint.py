"""The checkpoint is forged, bent, exchanged, rolled back or taken away."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from authz.ledger import keys, merkle, notes
from authz.ledger.trust import Trust
from tests import ledgers
from tests.unit.ledger.test_notes import BENT

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"


@pytest.fixture
def epoch(tmp_path: Path) -> Path:
    return ledgers.write(tmp_path, 5)


def put(epoch: Path, note: bytes) -> None:
    (epoch / "checkpoint").write_bytes(note)


def at_every_level(epoch: Path, words: str) -> None:
    for level in (1, 2, 3):
        fault = ledgers.found(epoch.parent.parent, level)
        assert words in fault.what
        assert fault.file == str(epoch / "checkpoint")


def root(epoch: Path, size: int) -> bytes:
    return merkle.root([merkle.leaf_hash(entry) for entry in ledgers.read(epoch)[:size]])


def _spare_bits(note: bytes) -> bytes:
    """The unused bits of the root's last base64 character are not zero: 32 bytes leave two of them."""
    end = note.index(b"=\n\n")
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(note[end - 1 : end]) + 1]
    return note[: end - 1] + bytes([other]) + note[end:]


FORM = "checkpoint: not an origin and a decimal size"
OWN_BENT: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "CRLF": (lambda note: note.replace(b"\n", b"\r\n"), "note: no blank line"),
    "CR after the size": (lambda note: note.replace(b"\n5\n", b"\n5\r\n"), FORM),
    "leading zero": (lambda note: note.replace(b"\n5\n", b"\n05\n"), FORM),
    "missing newline": (lambda note: note[:-1], "note: no blank line, or the last line is not ended"),
    "base64 with spare bits": (_spare_bits, "note: base64 that is not canonical"),
    "base64 without padding": (lambda note: note.replace(b"=\n\n", b"\n\n"), "note: not base64"),
}


@pytest.mark.parametrize("bent", OWN_BENT)
def test_its_own_checkpoint_in_other_bytes_is_named(epoch: Path, bent: str) -> None:
    """It says the same and the signature in it is right: only the form is another one."""
    change, words = OWN_BENT[bent]
    note = (epoch / "checkpoint").read_bytes()
    put(epoch, change(note))
    assert change(note) != note
    at_every_level(epoch, words)


@pytest.mark.parametrize("bent", BENT)
def test_a_checkpoint_in_another_form_is_none(epoch: Path, bent: str) -> None:
    put(epoch, BENT[bent])
    for level in (1, 2, 3):
        assert not ledgers.check(epoch, level).verified


def test_one_by_another_key_is_none(epoch: Path) -> None:
    ledgers.seal(epoch, LOG, seed=ledgers.OTHER_SEED)
    at_every_level(epoch, "not signed by the pinned key")


def test_the_record_key_cannot_sign_one(epoch: Path) -> None:
    ledgers.seal(epoch, LOG, seed=ledgers.RECORD_SEED)
    at_every_level(epoch, "not signed by the pinned key")


def test_one_without_our_signature_but_with_a_stranger_s_is_none(epoch: Path) -> None:
    text = notes.Checkpoint(LOG, 5, root(epoch, 5)).signed_text()
    line = base64.b64encode(b"abcd" + bytes(64)).decode()
    put(epoch, text + f"\n— witness.example/w {line}\n".encode())
    at_every_level(epoch, "not signed by the pinned key")


def test_a_signature_under_another_size_or_root_is_none(epoch: Path) -> None:
    signed = notes.sign(LOG, 5, root(epoch, 5), ledgers.LOG_SEED)
    put(epoch, signed.replace(b"\n5\n", b"\n4\n"))
    at_every_level(epoch, "not signed")
    put(epoch, signed.replace(base64.b64encode(root(epoch, 5)), base64.b64encode(root(epoch, 4))))
    at_every_level(epoch, "not signed")


def test_seventeen_lines_are_read_and_ours_among_them_is_found(epoch: Path) -> None:
    note = (epoch / "checkpoint").read_bytes()
    line = base64.b64encode(b"abcd" + bytes(72)).decode()
    strangers = "".join(f"— w{number}.example/w {line}\n" for number in range(16)).encode()
    put(epoch, note + strangers)
    assert ledgers.check(epoch).verified
    head, blank, own = note.partition(b"\n\n")
    put(epoch, head + blank + strangers + own)
    assert ledgers.check(epoch).verified


def test_seventeen_lines_without_ours_are_not_enough(epoch: Path) -> None:
    """The same, but the line that was ours is a stranger's: nothing is passed over for being long."""
    head, blank, _ = (epoch / "checkpoint").read_bytes().partition(b"\n\n")
    line = base64.b64encode(b"abcd" + bytes(72)).decode()
    strangers = "".join(f"— w{number}.example/w {line}\n" for number in range(17)).encode()
    put(epoch, head + blank + strangers)
    at_every_level(epoch, "not signed by the pinned key")


def test_a_wrong_signature_beside_the_right_one_is_not_passed_over(epoch: Path) -> None:
    other = notes.sign(LOG, 4, root(epoch, 4), ledgers.LOG_SEED).partition(b"\n\n")[2]
    put(epoch, (epoch / "checkpoint").read_bytes() + other)
    at_every_level(epoch, "not signed")


def test_two_checkpoints_in_one_file_are_none(epoch: Path) -> None:
    put(epoch, (epoch / "checkpoint").read_bytes() + notes.sign(LOG, 4, root(epoch, 4), ledgers.LOG_SEED))
    at_every_level(epoch, "note: ")


def test_of_two_signed_for_one_size_only_the_one_of_these_entries_verifies(epoch: Path) -> None:
    """Signed with the true key over another history: the worst a signer can do."""
    put(epoch, notes.sign(LOG, 5, root(epoch, 4), ledgers.LOG_SEED))
    at_every_level(epoch, "its root is not that of the first 5 entries")


def test_one_that_covers_more_than_the_disk_holds_is_missed(epoch: Path) -> None:
    put(epoch, notes.sign(LOG, 6, root(epoch, 5), ledgers.LOG_SEED))
    for level in (1, 2, 3):
        assert "covers 6 entries" in ledgers.found(epoch, level).what


def test_an_empty_tree_has_one_root(epoch: Path) -> None:
    put(epoch, notes.sign(LOG, 0, bytes(32), ledgers.LOG_SEED))
    at_every_level(epoch, "its root is not that of the first 0 entries")
    put(epoch, notes.sign(LOG, 0, merkle.EMPTY_HASH, ledgers.LOG_SEED))
    assert ledgers.check(epoch).logs[0].unsealed == 5


def test_an_older_one_put_back_seals_less_and_that_is_said(epoch: Path) -> None:
    put(epoch, notes.sign(LOG, 2, root(epoch, 2), ledgers.LOG_SEED))
    report = ledgers.check(epoch)
    assert report.verified
    assert (report.logs[0].sealed, report.logs[0].unsealed) == (2, 3)


def test_one_of_another_epoch_is_not_of_this_one(epoch: Path, tmp_path: Path) -> None:
    """Same worker, same key, same size; the entries even say the same."""
    other = ledgers.write(tmp_path / "other", 5, epoch=ledgers.LATER_EPOCH)
    shutil.copyfile(other / "checkpoint", epoch / "checkpoint")
    for level in (1, 2, 3):
        assert not ledgers.check(epoch, level).verified


def test_one_over_these_entries_in_another_log_s_name_is_not_of_this_one(epoch: Path) -> None:
    ledgers.seal(epoch, f"{ledgers.WORKER}/{ledgers.LATER_EPOCH}")
    assert "another log" in ledgers.found(epoch, 1).what
    for level in (2, 3):
        assert ledgers.found(epoch, level).what == "log: not the name of this log"


def test_the_key_of_a_worker_is_not_that_of_one_whose_name_begins_alike(epoch: Path) -> None:
    public = keys.public_key(ledgers.LOG_SEED)
    narrow = Trust({"aegis.test/worker/": (public,), "aegis.test/worker-00/": (public,)}, ())
    assert "no key is pinned" in str(ledgers.check(epoch, 1, narrow).first_fault)


def test_the_longest_prefix_s_key_counts_and_no_other(epoch: Path) -> None:
    public = keys.public_key(ledgers.LOG_SEED)
    other = keys.public_key(ledgers.OTHER_SEED)
    assert not ledgers.check(
        epoch, 1, Trust({"aegis.test/": (public,), f"{ledgers.WORKER}/": (other,)}, ())
    ).verified
    assert ledgers.check(
        epoch, 1, Trust({"aegis.test/": (other,), f"{ledgers.WORKER}/": (public,)}, ())
    ).verified


def test_one_taken_away_leaves_nothing_signed_below_level_3(epoch: Path) -> None:
    (epoch / "checkpoint").unlink()
    for level in (1, 2):
        assert ledgers.found(epoch, level).what == f"missing: at level {level} nothing else is signed"
    assert ledgers.check(epoch, 3).logs[0].unsealed == 5
