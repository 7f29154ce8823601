"""Ed25519 keys: files of mode 0600 that hold a seed, public JWKs, thumbprints, vkeys.

A key file holds 64 lowercase hex digits, the 32-byte seed of RFC 8032, and a newline. Nothing here ever puts
a seed into a text.

    vkey    = <name>+<8 hex of key id>+<base64(0x01 || public key)>       (C2SP signed-note)
    key id  = first 4 bytes of SHA-256(name || 0x0A || 0x01 || public key)
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from nacl.bindings import crypto_sign_seed_keypair

from authz import canonical
from authz.errors import KeyUnusable

ALGORITHM_BYTE: Final = b"\x01"  # Ed25519 in signed notes
_SEED: Final = re.compile(rb"[0-9a-f]{64}\n?")


def ensure(path: Path) -> bytes:
    """The seed in `path`, made first (0600, synced) if there is no such file. Raises KeyUnusable.

    The file appears whole or not at all, whoever else makes it at the same time and wherever we are killed.
    """
    if not os.path.lexists(path):
        try:
            _make(path)
        except OSError as error:
            raise KeyUnusable(f"{path}: {error.strerror}") from None
    return load(path)


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(encode(os.urandom(32)))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was first: its key counts
            os.link(unfinished, path)
    finally:
        os.unlink(unfinished)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Names in `path` are durable afterwards. Raises OSError."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def load(path: Path) -> bytes:
    """The 32-byte seed in `path`. Raises KeyUnusable if it is missing, not a seed, or others may read it."""
    if not os.path.lexists(path):
        raise KeyUnusable(f"{path}: No such file: run `aegis keys generate`")
    stored = read_secret(path, 128)
    if not _SEED.fullmatch(stored):
        raise KeyUnusable(f"{path}: not an Ed25519 seed of 64 lowercase hex digits")
    return bytes.fromhex(stored[:64].decode("ascii"))


def read_secret(path: Path, most: int) -> bytes:
    """Up to `most` bytes of a file that only its owner can read. Raises KeyUnusable for any other."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            stored = os.read(descriptor, most) if stat.S_ISREG(mode) else b""
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KeyUnusable(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise KeyUnusable(f"{path}: others may read it; a key is a file of mode 0600")
    return stored


def encode(seed: bytes) -> bytes:
    """What a file with this seed holds."""
    return seed.hex().encode() + b"\n"


def public_key(seed: bytes) -> bytes:
    """The 32-byte public key of a seed (RFC 8032 section 5.1.5)."""
    public, _ = crypto_sign_seed_keypair(seed)
    return bytes(public)


def jwk(public: bytes) -> dict[str, str]:
    """The public key as a JWK (RFC 8037)."""
    return {"crv": "Ed25519", "kty": "OKP", "x": urlsafe_b64encode(public).decode().rstrip("=")}


def from_jwk(value: Any) -> bytes:
    """The public key in a JWK that is exactly one for Ed25519. Raises ValueError."""
    if not isinstance(value, dict) or value.get("kty") != "OKP" or value.get("crv") != "Ed25519":
        raise ValueError("not an Ed25519 JWK")
    if "d" in value:
        raise ValueError("a private key where a public one belongs")
    text = value.get("x")
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]{43}", text):
        raise ValueError("x is not 32 bytes in base64url")
    public = urlsafe_b64decode(text + "=")
    if jwk(public)["x"] != text:
        raise ValueError("x is not canonical base64url")
    return public


def thumbprint(public: bytes) -> str:
    """RFC 7638 thumbprint of the JWK: the `kid` of attestations."""
    return urlsafe_b64encode(hashlib.sha256(canonical.encode(jwk(public))).digest()).decode().rstrip("=")


def key_id(name: str, public: bytes) -> bytes:
    """The four bytes before a signature in a signed note."""
    return hashlib.sha256(name.encode() + b"\n" + ALGORITHM_BYTE + public).digest()[:4]


def vkey(name: str, public: bytes) -> str:
    """The verifier key of C2SP signed-note for the key called `name`."""
    return f"{name}+{key_id(name, public).hex()}+{b64encode(ALGORITHM_BYTE + public).decode()}"
