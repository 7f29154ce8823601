"""Cosignatures: what other people's witnesses sign is read, and nothing else counts."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from authz.ledger import cosignatures, keys, notes
from authz.ledger.cosignatures import Witness
from tests.cosigning import WITNESS, cosign

GOLDEN = Path(__file__).parents[2] / "vectors" / "tlog-golden.txt"
NOTE = notes.sign("a/b/c", 5, b"\x07" * 32, b"\x01" * 32)


def golden() -> tuple[str, notes.Checkpoint]:
    """The witness's vkey and the cosigned checkpoint of the published vectors."""
    text = GOLDEN.read_text()
    vkey = next(line.split(" ")[2] for line in text.splitlines() if line.startswith("witness vkey "))
    return vkey, notes.parse(text.partition("\n\n")[2].encode())


def test_the_published_cosignature_is_accepted() -> None:
    vkey, checkpoint = golden()
    witness = cosignatures.parse_vkey(vkey)
    assert witness == Witness("witness.example.net/w1", keys.public_key(bytes(range(0x20, 0x40))))
    assert witness.vkey == vkey
    assert cosignatures.cosigned(checkpoint, witness) == 1_795_308_000


def test_ours_is_made_as_the_published_one() -> None:
    vkey, checkpoint = golden()
    witness = cosignatures.parse_vkey(vkey)
    line = next(line for line in checkpoint.signatures if line.name == witness.name)
    seed = bytes(range(0x20, 0x40))
    assert cosign(checkpoint, 1_795_308_000, seed, witness.name) == line


def test_who_is_not_asked_for_does_not_count() -> None:
    checkpoint = notes.parse(NOTE)
    assert cosignatures.cosigned(checkpoint, WITNESS) is None


def test_a_forged_line_spoils_the_note_even_beside_a_right_one() -> None:
    checkpoint = notes.parse(NOTE)
    right = cosign(checkpoint, 1000)
    wrong = notes.Signature(right.name, right.key_id, right.signature[:-1] + b"\x00")
    for lines in ([wrong], [right, wrong], [wrong, right]):
        spoilt = notes.Checkpoint(checkpoint.log, checkpoint.size, checkpoint.root, tuple(lines))
        with pytest.raises(ValueError, match=r"witness\.test/w1 that it did not make"):
            cosignatures.cosigned(spoilt, WITNESS)


def test_another_time_or_another_tree_was_not_cosigned() -> None:
    checkpoint = notes.parse(NOTE)
    line = cosign(checkpoint, 1000)
    later = notes.Signature(line.name, line.key_id, (1001).to_bytes(8, "big") + line.signature[8:])
    for size, signature in ((5, later), (6, line)):
        other = notes.Checkpoint(checkpoint.log, size, checkpoint.root, (signature,))
        with pytest.raises(ValueError, match="did not make"):
            cosignatures.cosigned(other, WITNESS)


@pytest.mark.parametrize("time", [0, cosignatures.MAX_TIME + 1])
def test_a_time_that_has_no_date_is_none(time: int) -> None:
    checkpoint = notes.parse(NOTE)
    line = cosign(checkpoint, time)
    whole = notes.Checkpoint(checkpoint.log, checkpoint.size, checkpoint.root, (line,))
    with pytest.raises(ValueError, match="did not make"):
        cosignatures.cosigned(whole, WITNESS)


def test_of_two_right_ones_the_earlier_counts() -> None:
    checkpoint = notes.parse(NOTE)
    lines = (cosign(checkpoint, 2000), cosign(checkpoint, 1000))
    whole = notes.Checkpoint(checkpoint.log, checkpoint.size, checkpoint.root, lines)
    assert cosignatures.cosigned(whole, WITNESS) == 1000


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "w1",
        "w1+00000000+" + b64encode(b"\x04" + b"\x01" * 32).decode(),
        WITNESS.vkey + "=",
        WITNESS.vkey.upper(),
        WITNESS.vkey[:-4],
        "a b+" + WITNESS.vkey.partition("+")[2],
        keys.vkey("w1", WITNESS.public),
    ],
)
def test_what_is_no_key_of_a_witness_is_refused(vkey: str) -> None:
    with pytest.raises(ValueError, match=r"not a vkey|not a key for cosignature|its key id"):
        cosignatures.parse_vkey(vkey)
