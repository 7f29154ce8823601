"""A witness for tests that cosigns whatever it is shown: what one could have signed, or forged."""

from __future__ import annotations

from base64 import b64encode

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from authz.ledger import keys, notes
from authz.ledger.cosignatures import Witness, signed_text
from authz.ledger.notes import Checkpoint, Signature

SEED, NAME = b"\x20" * 32, "witness.test/w1"
WITNESS = Witness(NAME, keys.public_key(SEED))


def cosign(checkpoint: Checkpoint, time: int, seed: bytes = SEED, name: str = NAME) -> Signature:
    """The signature line of the witness called `name` at `time`."""
    public, secret = crypto_sign_seed_keypair(seed)
    signature = crypto_sign(signed_text(checkpoint, time), secret)[:64]
    return Signature(name, Witness(name, public).key_id, time.to_bytes(8, "big") + signature)


def with_line(note: bytes, line: Signature) -> bytes:
    """`note` with one more signature line."""
    data = b64encode(line.key_id + line.signature).decode()
    return note + f"\u2014 {line.name} {data}\n".encode()


def cosigned(note: bytes, time: int, seed: bytes = SEED, name: str = NAME) -> bytes:
    return with_line(note, cosign(notes.parse(note), time, seed, name))
