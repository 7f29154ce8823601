"""Checkpoints as signed notes (c2sp.org/signed-note, c2sp.org/tlog-checkpoint). Parsing is strict.

    <log>\\n<size, decimal>\\n<base64 root>\\n\\n
    — <key name> <base64( 4-byte key id || 64-byte Ed25519 signature )>\\n        one or more

Signed are the three lines with the third newline. The key name is the log's origin. Lines by other keys
(witnesses, a key being rotated in) are kept as they are and are for others to judge.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from authz.ledger import keys

MAX_NOTE: Final = 131_072  # bytes: sixteen signatures of the post-quantum kind fit
MAX_SIGNATURES: Final = 64
MAX_SIZE: Final = (1 << 63) - 1  # entries: what others keep sizes in
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_NAME: Final = re.compile(r"[^\s+\x00-\x1f]{1,512}")
_PREFIX: Final = "\u2014 "


class Signature(Struct, frozen=True):
    """One signature line: who says to have signed, and with what."""

    name: str
    key_id: bytes
    signature: bytes


class Checkpoint(Struct, frozen=True):
    """A log's size and root (32 bytes), with whatever signatures stand under them."""

    log: str
    size: int
    root: bytes
    signatures: tuple[Signature, ...] = ()

    def signed_text(self) -> bytes:
        return f"{self.log}\n{self.size}\n{b64encode(self.root).decode()}\n".encode()


def sign(log: str, size: int, root: bytes, *seeds: bytes) -> bytes:
    """The note for `size` entries with `root`, signed in the log's own name: a line for each of `seeds`, in
    their order.

    Raises ValueError for a name that no note can carry: what cannot be read back is never signed.
    """
    if not is_name(log) or not _is_size(str(size)) or len(root) != 32:
        raise ValueError(f"no checkpoint can say: {log!r}, {size}, a root of {len(root)} bytes")
    text = Checkpoint(log, size, root).signed_text()
    return text + b"\n" + b"".join(_line(log, text, seed) for seed in seeds)


def _line(log: str, text: bytes, seed: bytes) -> bytes:
    public, secret = crypto_sign_seed_keypair(seed)
    signature = crypto_sign(text, secret)[:64]
    line = b64encode(keys.key_id(log, public) + signature).decode()
    return f"{_PREFIX}{log} {line}\n".encode()


def parse(note: bytes) -> Checkpoint:
    """The checkpoint in `note`, which must be exactly what the format prints. Raises ValueError."""
    if len(note) > MAX_NOTE:
        raise ValueError("note: too long")
    try:
        text = note.decode()
    except UnicodeDecodeError:
        raise ValueError("note: not UTF-8") from None
    body, blank, tail = text.partition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise ValueError("note: no blank line, or the last line is not ended")
    lines = body.split("\n")
    if len(lines) != 3:
        raise ValueError("checkpoint: not origin, size and root")
    origin, size, root = lines
    if not is_name(origin) or not _is_size(size):
        raise ValueError("checkpoint: not an origin and a decimal size")
    rows = tail[:-1].split("\n")
    if len(rows) > MAX_SIGNATURES:
        raise ValueError("note: too many signatures")
    return Checkpoint(origin, int(size), base64(root, 32), tuple(map(_signature, rows)))


def signed_by(checkpoint: Checkpoint, *publics: bytes) -> bool:
    """Whether one of the keys `publics` signed this checkpoint in the log's own name."""
    return bool(signers(checkpoint, publics))


def signers(checkpoint: Checkpoint, publics: Iterable[bytes]) -> list[bytes]:
    """Those of `publics` that signed this checkpoint in the log's own name; two do while one key takes over
    from another.

    A wrong signature that claims to be by one of them spoils the note, as it does for other readers of signed
    notes, even beside a right one: then nobody signed.
    """
    text = checkpoint.signed_text()
    claimed = [
        (public, line)
        for public in publics
        for line in checkpoint.signatures
        if claims(line, checkpoint.log, public)
    ]
    if not all(verifies(public, line.signature, text) for public, line in claimed):
        return []
    return [public for public, _ in claimed]


def claims(line: Signature, name: str, public: bytes) -> bool:
    """Whether `line` says to be by the key `public` called `name`."""
    return line.name == name and line.key_id == keys.key_id(name, public)


def is_name(text: str) -> bool:
    """Whether a key, and so a log, may be called `text`."""
    return _NAME.fullmatch(text) is not None


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Ed25519 (RFC 8032) verification."""
    if len(signature) != 64:
        return False
    try:
        crypto_sign_open(signature + message, public)
    except (BadSignatureError, ValueError):
        return False
    return True


def _is_size(text: str) -> bool:
    return _SIZE.fullmatch(text) is not None and int(text) <= MAX_SIZE


def _signature(row: str) -> Signature:
    if not row.startswith(_PREFIX):
        raise ValueError("note: a line that is no signature")
    name, _, encoded = row[len(_PREFIX) :].partition(" ")
    if not is_name(name):
        raise ValueError("note: a signature without a name")
    data = base64(encoded, None)
    if len(data) < 5:
        raise ValueError("note: a signature that is too short")
    return Signature(name, data[:4], data[4:])


def base64(text: str, size: int | None) -> bytes:
    """Standard base64 that prints back to `text`."""
    try:
        data = b64decode(text, validate=True)
    except (Error, ValueError):
        raise ValueError("note: not base64") from None
    if b64encode(data).decode() != text or (size is not None and len(data) != size):
        raise ValueError("note: base64 that is not canonical, or of another length")
    return data
