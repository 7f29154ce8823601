"""Signed notes: the published bytes, other people's lines, and everything that is not the one form."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from authz.ledger import keys, merkle, notes
from tests.unit.ledger import golden

VECTORS = Path(__file__).parents[2] / "vectors" / "ledger"
LOG = "aegis.test/worker-0/e"
SEED = b"\x07" * 32
PUBLIC = keys.public_key(SEED)
ROOT = merkle.leaf_hash(b"x")
NOTE = notes.sign(LOG, 5, ROOT, SEED)
LINE = NOTE.partition(b"\n\n")[2]


def test_the_same_key_and_tree_give_the_published_checkpoint() -> None:
    expected = json.loads((VECTORS / "expected.json").read_bytes())
    stored = (VECTORS / "checkpoint").read_bytes()
    found = notes.parse(stored)
    assert base64.b64encode(found.root).decode() == expected["root_base64"]
    assert notes.sign(found.log, found.size, found.root, bytes.fromhex(expected["log_key_seed"])) == stored


def test_the_published_note_with_a_cosignature_is_read_and_the_log_s_line_is_reproduced() -> None:
    found = notes.parse(golden.NOTE)
    assert (found.log, found.size) == (golden.LOG, 5)
    assert [len(line.signature) for line in found.signatures] == [64, 72]  # a cosignature carries a time
    assert notes.signed_by(found, keys.public_key(golden.LOG_SEED))
    own = notes.sign(golden.LOG, 5, found.root, golden.LOG_SEED)
    assert golden.NOTE.startswith(own)


def test_only_the_pinned_key_in_the_log_s_own_name_counts() -> None:
    assert notes.signed_by(notes.parse(NOTE), PUBLIC)
    assert not notes.signed_by(notes.parse(NOTE), keys.public_key(b"\x08" * 32))
    witness = NOTE.replace(b"\xe2\x80\x94 aegis.test/worker-0/e ", b"\xe2\x80\x94 witness.example/w ")
    assert not notes.signed_by(notes.parse(witness), PUBLIC)


@pytest.mark.parametrize("part", ["size", "root", "log"])
def test_a_signature_is_of_one_log_size_and_root(part: str) -> None:
    log, size, root = LOG, 5, ROOT
    if part == "log":
        log = LOG + "x"
    elif part == "size":
        size = 6
    else:
        root = merkle.leaf_hash(b"y")
    found = notes.parse(notes.sign(log, size, root, SEED))
    moved = notes.Checkpoint(LOG, 5, ROOT, found.signatures)
    assert notes.signed_by(found, PUBLIC)
    assert not notes.signed_by(moved, PUBLIC)


@pytest.mark.parametrize("before", [0, 15, 16, 62])
def test_other_people_s_lines_are_accepted_around_ours(before: int) -> None:
    stranger = b"\xe2\x80\x94 w%d.example/w " + base64.b64encode(bytes(80)) + b"\n"
    lines = b"".join(stranger % number for number in range(before))
    found = notes.parse(NOTE.replace(LINE, lines + LINE) + stranger % before)
    assert len(found.signatures) == before + 2
    assert notes.signed_by(found, PUBLIC)


def test_the_bound_on_lines_holds() -> None:
    with pytest.raises(ValueError, match="too many"):
        notes.parse(NOTE + LINE * notes.MAX_SIGNATURES)


def test_a_wrong_signature_in_our_name_spoils_the_note() -> None:
    wrong = notes.sign(LOG, 6, ROOT, SEED).partition(b"\n\n")[2]
    assert not notes.signed_by(notes.parse(NOTE + wrong), PUBLIC)
    assert not notes.signed_by(notes.parse(NOTE.replace(LINE, wrong + LINE)), PUBLIC)


def test_two_keys_sign_while_one_takes_over_and_either_is_enough() -> None:
    new = b"\x08" * 32
    found = notes.parse(notes.sign(LOG, 5, ROOT, SEED, new))
    assert [line.key_id for line in found.signatures] == [
        keys.key_id(LOG, keys.public_key(seed)) for seed in (SEED, new)
    ]
    assert notes.signed_by(found, PUBLIC)
    assert notes.signed_by(found, keys.public_key(new))
    assert notes.signed_by(notes.parse(NOTE), keys.public_key(new), PUBLIC)
    assert not notes.signed_by(notes.parse(NOTE), keys.public_key(new))


def test_a_wrong_signature_by_the_second_key_spoils_the_note_too() -> None:
    new = b"\x08" * 32
    wrong = notes.sign(LOG, 6, ROOT, new).partition(b"\n\n")[2]
    assert not notes.signed_by(notes.parse(NOTE + wrong), PUBLIC, keys.public_key(new))


def _spare_bits(note: bytes) -> bytes:
    """The same root in base64 whose unused bits are not zero."""
    root = base64.b64encode(ROOT).rstrip(b"=")
    last = root[-1:]
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(last) + 1 : alphabet.index(last) + 2]
    return note.replace(root + b"=", root[:-1] + other + b"=")


BENT = {
    "empty": b"",
    "no blank line": NOTE.replace(b"\n\n", b"\n"),
    "no signature": NOTE.replace(LINE, b""),
    "missing last newline": NOTE[:-1],
    "a second blank line": NOTE.replace(b"\n\n", b"\n\n\n"),
    "a blank line at the end": NOTE + b"\n",
    "two checkpoints": NOTE + NOTE,
    "CRLF": NOTE.replace(b"\n", b"\r\n"),
    "CR in one line": NOTE.replace(b"\n5\n", b"\n5\r\n"),
    "leading zero": NOTE.replace(b"\n5\n", b"\n05\n"),
    "plus sign": NOTE.replace(b"\n5\n", b"\n+5\n"),
    "negative": NOTE.replace(b"\n5\n", b"\n-5\n"),
    "hexadecimal": NOTE.replace(b"\n5\n", b"\n0x5\n"),
    "underscore": NOTE.replace(b"\n5\n", b"\n5_0\n"),
    "no size": NOTE.replace(b"\n5\n", b"\n\n"),
    "a size beyond 19 digits": NOTE.replace(b"\n5\n", b"\n" + b"5" * 20 + b"\n"),
    "a size beyond 63 bits": NOTE.replace(b"\n5\n", b"\n9223372036854775808\n"),
    "another digit five": NOTE.replace(b"\n5\n", "\n٥\n".encode()),
    "extension line": NOTE.replace(b"\n\n", b"\nextension\n\n"),
    "space in the name": NOTE.replace(b"aegis.test", b"aegis test"),
    "plus in the name": NOTE.replace(b"aegis.test", b"aegis+test"),
    "control character": NOTE.replace(b"aegis.test", b"aegis\x07test"),
    "not UTF-8": NOTE.replace(b"aegis.test", b"aegis\xfftest"),
    "base64 without padding": NOTE.replace(b"=\n\n", b"\n\n"),
    "base64url": NOTE.replace(base64.b64encode(ROOT), base64.urlsafe_b64encode(b"\xff" * 32)),
    "base64 with spare bits": _spare_bits(NOTE),
    "a space in the base64": NOTE.replace(b"=\n\n", b" =\n\n"),
    "a root of 31 bytes": NOTE.replace(base64.b64encode(ROOT), base64.b64encode(ROOT[:31])),
    "a root of 33 bytes": NOTE.replace(base64.b64encode(ROOT), base64.b64encode(ROOT + b"x")),
    "hyphen for the dash": NOTE.replace(b"\xe2\x80\x94", b"-"),
    "two spaces after the dash": NOTE.replace(b"\xe2\x80\x94 ", b"\xe2\x80\x94  "),
    "a signature of four bytes": NOTE.replace(LINE, b"\xe2\x80\x94 a/b/c AAAAAA==\n"),
    "a line that is none": NOTE + b"hello\n",
    "too long": NOTE.replace(LINE, LINE + b"\xe2\x80\x94 w " + b"A" * (notes.MAX_NOTE + 4) + b"\n"),
}


@pytest.mark.parametrize("bent", BENT.values(), ids=BENT.keys())
def test_a_note_that_does_not_print_back_is_refused(bent: bytes) -> None:
    assert bent != NOTE
    with pytest.raises(ValueError):
        notes.parse(bent)


@pytest.mark.parametrize("log", ["", "a b/c", "a+b/c", "a\nb", "a\x01b", "\u2028"])
def test_a_name_that_no_note_can_carry_is_never_signed(log: str) -> None:
    with pytest.raises(ValueError, match="no checkpoint"):
        notes.sign(log, 5, ROOT, SEED)


def test_sixteen_signatures_of_the_longest_kind_fit() -> None:
    """C2SP signed-note: post-quantum ones take nearly 5 kB, and a reader must take at least 16 lines."""
    stranger = b"\xe2\x80\x94 w%d.example/w " + base64.b64encode(bytes(5000)) + b"\n"
    found = notes.parse(NOTE + b"".join(stranger % number for number in range(15)))
    assert len(found.signatures) == 16


@pytest.mark.parametrize(("size", "root"), [(-1, ROOT), (1 << 63, ROOT), (5, ROOT[:31])])
def test_no_such_size_or_root_is_ever_signed(size: int, root: bytes) -> None:
    with pytest.raises(ValueError, match="no checkpoint"):
        notes.sign(LOG, size, root, SEED)


@pytest.mark.parametrize("length", [0, 32, 63, 65, 128])
def test_a_signature_of_another_length_is_none(length: int) -> None:
    right = notes.parse(NOTE).signatures[0].signature
    message = notes.parse(NOTE).signed_text()
    assert notes.verifies(PUBLIC, right, message)
    assert not notes.verifies(PUBLIC, (right * 2)[:length], message)
    whole = right + message
    assert not notes.verifies(PUBLIC, whole[:length], whole[length:])  # the split may not be moved
