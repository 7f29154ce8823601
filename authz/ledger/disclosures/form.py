"""One disclosure, and the line that keeps those of one entry (RFC 9901 section 4.2; EVIDENCE sections 4, 5).

    disclosure   base64url(JSON [salt, name, value]);  its digest: base64url(SHA-256(ASCII(disclosure)))
    line         {"decision_id", "sd": [disclosure, ...], "seq"}                          as it is released
                 {"decision_id", "key", "encrypted": base64(nonce || AES-256-GCM), "seq"}    as it is kept

The digests stand in the entry's sorted `_sd`. An encrypted line hides its `sd` array as canonical JSON; log,
decision and seq are authenticated with it, so it opens in its own place only. No file and no key store here.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Sequence
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from authz import canonical

MEMBER: Final = "_sd"  # of an entry: the digests of its disclosures
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12
MAX_LINE: Final = 8 << 20  # bytes, with the newline
MAX_DISCLOSURES: Final = 16  # of an entry
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")
_KEY_ID: Final = re.compile(r"[0-9a-f]{16}")
_PLAIN: Final = {"decision_id", "sd", "seq"}
_ENCRYPTED: Final = {"decision_id", "key", "encrypted", "seq"}


class Disclosure(Struct, frozen=True):
    """`value` is what entry member `name` says, once `text` is disclosed."""

    text: str
    salt: str
    name: str
    value: Any


class Line(Struct, frozen=True):
    """The disclosures of entry `seq`: `sd`, or what is `encrypted` under the key with id `key`."""

    decision_id: str
    seq: int
    sd: tuple[str, ...] = ()
    key: str = ""
    encrypted: bytes = b""


def make(name: str, value: Any, salt: bytes) -> str:
    """The disclosure of `name`. Raises ValueError for a value that JSON cannot hold."""
    try:
        return _base64url(orjson.dumps([_base64url(salt), name, value]))
    except orjson.JSONEncodeError as error:
        raise ValueError(f"{name}: {error}") from None


def digest(text: str) -> str:
    """The digest of a disclosure, as `_sd` has it."""
    return _base64url(hashlib.sha256(text.encode("ascii")).digest())


def parse(text: str) -> Disclosure:
    """Raises ValueError for what is no disclosure of an object's member."""
    try:
        if not _BASE64URL.fullmatch(text):
            raise ValueError("not base64url")
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if _base64url(data) != text:
            raise ValueError("not canonical base64url")
        found = orjson.loads(data)
    except (Error, ValueError) as error:
        raise ValueError(f"a disclosure: {error}") from None
    if not isinstance(found, list) or len(found) != 3 or not all(isinstance(part, str) for part in found[:2]):
        raise ValueError("a disclosure: not [salt, name, value]")
    salt, name, value = found
    if name in (MEMBER, "..."):
        raise ValueError(f"a disclosure: {name} is no member that can be disclosed")
    return Disclosure(text, salt, name, value)


def plain(decision_id: str, seq: int, sd: Sequence[str]) -> bytes:
    """The line as it is released, without a newline."""
    return canonical.encode({"decision_id": decision_id, "sd": list(sd), "seq": seq})


def encrypt(log: str, line: Line, key_id: str, cipher: AESGCM, nonce: bytes) -> bytes:
    """The line as it is kept, without a newline; a `nonce` of 12 bytes is used once under a key."""
    hidden = cipher.encrypt(nonce, canonical.encode(list(line.sd)), _bound(log, line))
    members = {
        "decision_id": line.decision_id,
        "key": key_id,
        "encrypted": b64encode(nonce + hidden).decode(),
        "seq": line.seq,
    }
    return canonical.encode(members)


def decrypt(log: str, line: Line, cipher: AESGCM) -> Line:
    """The same line with its `sd`. Raises ValueError if it was changed, or encrypted for another place."""
    try:
        hidden = cipher.decrypt(line.encrypted[:NONCE_BYTES], line.encrypted[NONCE_BYTES:], _bound(log, line))
    except (InvalidTag, ValueError):
        raise ValueError("encrypted: changed, or of another entry") from None
    return Line(line.decision_id, line.seq, _texts(orjson.loads(hidden)))


def read(data: bytes) -> Line:
    """A line without its newline. Raises ValueError."""
    members = canonical.parse(data)
    decision_id, seq = members.get("decision_id"), members.get("seq")
    if not isinstance(decision_id, str) or type(seq) is not int or seq < 0:
        raise ValueError("decision_id, seq: missing, or of another type")
    if members.keys() == _PLAIN:
        return Line(decision_id, seq, _texts(members["sd"]))
    if members.keys() != _ENCRYPTED:
        raise ValueError("neither `sd` nor `key` and `encrypted`, or more than that")
    key, encrypted = members["key"], members["encrypted"]
    if not isinstance(key, str) or not _KEY_ID.fullmatch(key) or not isinstance(encrypted, str):
        raise ValueError("key, encrypted: not an id of 16 hex digits and a text")
    try:
        return Line(decision_id, seq, key=key, encrypted=b64decode(encrypted, validate=True))
    except Error:
        raise ValueError("encrypted: not base64") from None


def _texts(value: Any) -> tuple[str, ...]:
    good = isinstance(value, list) and 0 < len(value) <= MAX_DISCLOSURES
    if not good or not all(isinstance(text, str) and _BASE64URL.fullmatch(text) for text in value):
        raise ValueError(f"sd: not 1 to {MAX_DISCLOSURES} disclosures in base64url")
    return tuple(value)


def _bound(log: str, line: Line) -> bytes:
    return f"{log}\n{line.seq}\n{line.decision_id}".encode()


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
