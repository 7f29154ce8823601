"""The public keys that sign agents' tokens, from one file that may change while we run.

In: a JWK set (RFC 7517). Out: for every `kid` one key with exactly one algorithm. Called by `jwt.py`, never
on a request's way. Keys that this version cannot use (encryption, algorithms that are turned off) are left
out; a file that is wrong in itself is unusable as a whole: at the start that is an error, later the keys of
before stay, `problem` says why, and `age_s` grows until nobody is believed any more.

    Ed25519  {"kty": "OKP", "crv": "Ed25519", "kid": "...", "x": "..."}                     EdDSA
    P-256    {"kty": "EC", "crv": "P-256", "kid": "...", "x": "...", "y": "..."}            ES256
    RSA      {"kty": "RSA", "kid": "...", "n": "...", "e": "AQAB"}                          RS256
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final, Protocol

import structlog
from jwt import PyJWK, PyJWTError

from authz import exact_json
from authz.errors import KeyUnusable

log = structlog.get_logger(__name__)

MAX_FILE_BYTES: Final = 1 << 20
MAX_KEYS: Final = 1000
MAX_KID: Final = 256
_DEPTH: Final = 8
# A file that was written so recently may be written again within one tick of its clock, unnoticed.
_SETTLED_S: Final = 2.0

# kty and crv -> the only algorithm such a key is used with, and what its `alg` may be (RFC 8037, RFC 9864).
_ALGORITHMS: Final = {
    "OKP Ed25519": ("EdDSA", ("EdDSA", "Ed25519")),
    "EC P-256": ("ES256", ("ES256",)),
    "RSA": ("RS256", ("RS256",)),
}
# One RSA key may stand in a set once for each of these (RFC 7518 sections 3.1 and 4.1): not ours.
_OTHER_RSA: Final = frozenset("RS384 RS512 PS256 PS384 PS512 RSA1_5 RSA-OAEP RSA-OAEP-256".split())
RSA_BITS: Final = range(2048, 8193)  # less is broken (RFC 7518 section 3.3), more is slow to verify
_EXPONENTS: Final = range(65537, 1 << 33)
_NUMBER: Final = re.compile(r"[A-Za-z0-9_-]{1,1400}")
_COORDINATE: Final = re.compile(r"[A-Za-z0-9_-]{43}")

_State = tuple[int, ...]  # of a file: equal as long as it was not touched


class Keys(Protocol):
    """Keys that are followed: from a file (`KeySet`) or a URL (`jwks.RemoteKeys`)."""

    @property
    def keys(self) -> dict[str, PyJWK]: ...
    @property
    def problem(self) -> str: ...
    @property
    def age_s(self) -> float: ...
    def refresh(self) -> bool: ...
    def missing(self) -> None: ...
    def close(self) -> None: ...


class KeySet:
    """The keys in `file` that `algorithms` permit. `wall` gives the time in seconds since 1970."""

    def __init__(self, file: Path, algorithms: Collection[str], wall: Callable[[], float]) -> None:
        """Raises KeyUnusable, naming the file."""
        self._file = file
        self._algorithms = frozenset(algorithms)
        self._wall = wall
        self._seen: _State | None = None
        self._digest = b""
        self.keys: dict[str, PyJWK] = {}
        self._problem = ""
        self._fresh_at = wall()
        self._read()

    @property
    def age_s(self) -> float:
        """Seconds since the keys were last known to be what the file says."""
        return self._wall() - self._fresh_at

    @property
    def problem(self) -> str:
        """Why the file cannot be used as it is now, "" when it can."""
        return self._problem

    def missing(self) -> None:
        """A token named a key that is not there: the file is looked at often enough."""

    def close(self) -> None:
        """Nothing is held open."""

    def refresh(self) -> bool:
        """Look at the file again; True if `keys` changed. Never raises: see `problem`."""
        try:
            changed = _state(os.stat(self._file)) != self._seen and self._read()
        except OSError as error:
            self._seen = None  # when it is there again, it may look as it did
            return self._keep(f"{self._file}: {error.strerror}")
        except KeyUnusable as error:
            return self._keep(str(error))
        if not self._problem:
            self._fresh_at = self._wall()
        return changed

    def _keep(self, why: str) -> bool:
        if why != self._problem:
            log.error("agent_keys_unusable", why=why, kept=len(self.keys))
        self._problem = why
        return False

    def _read(self) -> bool:
        """Take the keys of the file; True if it says something else than before. Raises KeyUnusable."""
        self._seen = None
        content, status = _content(self._file)
        recent = abs(self._wall() - status.st_mtime) < _SETTLED_S
        self._seen = None if recent else _state(status)
        digest = hashlib.sha256(content).digest()
        changed = digest != self._digest
        if changed:
            self.keys = parse_keys(content, self._algorithms, str(self._file))
            self._digest = digest
            log.info("agent_keys_read", file=str(self._file), keys=len(self.keys))
        self._problem = ""
        self._fresh_at = self._wall()
        return changed


def _state(status: os.stat_result) -> _State:
    return (
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_size,
        status.st_ino,
        status.st_dev,
        status.st_mode,
    )


def _content(file: Path) -> tuple[bytes, os.stat_result]:
    try:
        # Not to wait for the other end should it be a pipe.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as opened:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise KeyUnusable(f"{file}: not a regular file")
            if status.st_mode & 0o022:
                raise KeyUnusable(f"{file}: others may write it, and so decide who is believed; chmod go-w")
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeyUnusable(f"{file}: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise KeyUnusable(f"{file}: over {MAX_FILE_BYTES} bytes")
    return content, status


def parse_keys(content: bytes, algorithms: Collection[str], where: str) -> dict[str, PyJWK]:
    """The usable keys of a JWK set by their `kid`; there may be none. Raises KeyUnusable, naming `where`."""
    try:
        document = exact_json.parse(content, _DEPTH)
    except ValueError as error:
        raise KeyUnusable(f"{where}: {error}") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise KeyUnusable(f'{where}: not a JWK set, {{"keys": [...]}} with at most {MAX_KEYS} keys')
    keys: dict[str, PyJWK] = {}
    for index, jwk in enumerate(listed):
        here = f"{where}: keys[{index}]"
        algorithm = _algorithm(jwk, here)
        if algorithm not in algorithms:
            continue
        kid = _kid(jwk, here)
        if kid in keys:
            raise KeyUnusable(f"{here}: its kid stands twice")
        keys[kid] = _public(jwk, algorithm, here)
    return keys


def _algorithm(jwk: Any, here: str) -> str:
    """The algorithm of a key that may verify signatures, "" for one to leave out."""
    if not isinstance(jwk, dict):
        raise KeyUnusable(f"{here}: not an object")
    if "d" in jwk or "k" in jwk:
        raise KeyUnusable(f"{here}: a private or secret key, and this file is for public ones")
    kind = "RSA" if jwk.get("kty") == "RSA" else f"{jwk.get('kty')} {jwk.get('crv')}"
    uses = jwk.get("key_ops", ["verify"])
    if kind not in _ALGORITHMS or jwk.get("use", "sig") != "sig" or uses != ["verify"]:
        return ""
    algorithm, names = _ALGORITHMS[kind]
    named = jwk.get("alg", algorithm)
    if kind == "RSA" and isinstance(named, str) and named in _OTHER_RSA:
        return ""
    if named not in names:
        raise KeyUnusable(f"{here}: its alg does not fit its {'type' if kind == 'RSA' else 'curve'}")
    return algorithm


def _kid(jwk: dict[str, Any], here: str) -> str:
    kid = jwk.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise KeyUnusable(f"{here}: no kid of up to {MAX_KID} characters, by which tokens name their key")
    return kid


def _public(jwk: dict[str, Any], algorithm: str, here: str) -> PyJWK:
    if jwk["kty"] == "RSA":
        return _rsa(jwk, algorithm, here)
    coordinates = [jwk.get(name) for name in ("x", "y") if name in jwk or jwk["kty"] == "EC"]
    if not all(isinstance(text, str) and _COORDINATE.fullmatch(text) for text in coordinates):
        raise KeyUnusable(f"{here}: a coordinate is not 32 bytes in base64url")
    try:
        return PyJWK(jwk, algorithm)
    except (PyJWTError, ValueError):
        raise KeyUnusable(f"{here}: not a point on its curve") from None


def _rsa(jwk: dict[str, Any], algorithm: str, here: str) -> PyJWK:
    if not all(isinstance(jwk.get(name), str) and _NUMBER.fullmatch(jwk[name]) for name in ("n", "e")):
        raise KeyUnusable(f"{here}: n or e is not a number in base64url")
    try:
        made = PyJWK(jwk, algorithm)
    except (PyJWTError, ValueError):
        raise KeyUnusable(f"{here}: not an RSA key") from None
    numbers = made.key.public_numbers()
    if numbers.n.bit_length() not in RSA_BITS or numbers.e not in _EXPONENTS or numbers.e % 2 == 0:
        raise KeyUnusable(
            f"{here}: not an RSA key of {RSA_BITS[0]} to {RSA_BITS[-1]} bits with e from {_EXPONENTS[0]} on"
        )
    return made
