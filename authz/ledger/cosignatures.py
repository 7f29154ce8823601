"""Witnesses' keys and what they sign (c2sp.org/tlog-cosignature, Ed25519 cosignature/v1).

    vkey      <name>+<8 hex of key id>+<base64(0x04 || public key)>
    key id    first 4 bytes of SHA-256(name || 0x0A || 0x04 || public key)
    line      — <name> <base64( key id || uint64-BE time || 64-byte signature )>
    signed    cosignature/v1\\ntime <time, decimal>\\n, then the checkpoint's three lines

A cosignature says: at that time this was the largest tree that the witness knew of the log, and it goes on
from all that it had seen before. Called by the verifier and by the follower's witness client.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from binascii import Error
from typing import Final

from msgspec import Struct

from authz.ledger import notes
from authz.ledger.notes import Checkpoint, Signature

KIND: Final = b"\x04"
MAX_TIME: Final = 253_402_300_799  # the last second of year 9999, the last one that has a date
_VKEY: Final = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")


class Witness(Struct, frozen=True):
    """Who may cosign: the key's name and its 32 bytes."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + KIND + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(KIND + self.public).decode()}"


def parse_vkey(text: str) -> Witness:
    """Raises ValueError for whatever is not the vkey of an Ed25519 cosigner, printed as `vkey` prints it."""
    found = _VKEY.fullmatch(text)
    try:
        data = b64decode(found[3], validate=True) if found else b""
    except (Error, ValueError):
        data = b""
    if found is None or not notes.is_name(found[1]):
        raise ValueError("not a vkey: NAME+KEYID+BASE64")
    if data[:1] != KIND or len(data) != 33:
        raise ValueError("not a key for cosignature/v1 (Ed25519, type 0x04)")
    witness = Witness(found[1], data[1:])
    if witness.vkey != text:
        raise ValueError("its key id is not that of its name and key")
    return witness


def signed_text(checkpoint: Checkpoint, time: int) -> bytes:
    """What a witness signs at `time`, POSIX seconds."""
    return f"cosignature/v1\ntime {time}\n".encode() + checkpoint.signed_text()


def cosigned(checkpoint: Checkpoint, witness: Witness) -> int | None:
    """When `witness` cosigned, POSIX seconds; None if it did not.

    Raises ValueError for a line in its name that it did not sign: that spoils the note, even beside a right
    one. Of two right ones the earlier counts.
    """
    times = [_time(line, checkpoint, witness) for line in checkpoint.signatures if _claims(line, witness)]
    return min(times, default=None)


def _claims(line: Signature, witness: Witness) -> bool:
    return line.name == witness.name and line.key_id == witness.key_id


def _time(line: Signature, checkpoint: Checkpoint, witness: Witness) -> int:
    time, signature = int.from_bytes(line.signature[:8], "big"), line.signature[8:]
    text = signed_text(checkpoint, time)
    if not 0 < time <= MAX_TIME or not notes.verifies(witness.public, signature, text):
        raise ValueError(f"a cosignature in the name of {witness.name} that it did not make")
    return time
