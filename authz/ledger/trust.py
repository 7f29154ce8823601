"""Which keys a verifier believes: `trust.json` (EVIDENCE section 9). Nothing in a ledger can add to it.

    {"log_keys": {"<deployment>/<worker>/": JWK or [JWK, ...], ...}, "record_keys": [JWK, ...],
     "witnesses": ["witness w1 <vkey>", ..., "quorum w1"], "tsa_roots": [PEM, ...],
     "record_roots": [PEM, ...], "revoked": {"<RFC 7638 thumbprint>": "2026-01-01T00:00:00.000000Z", ...}}

Every epoch is a log of its own name, so a log key is pinned for the part before the epoch; the longest prefix
counts; it has several keys once one has taken over from another. `record_roots` are the certificates of who
vouches for record keys (`certificates.py`), `witnesses` the lines of a policy (`quorum.py`), `tsa_roots` the
certificates of who vouches for time-stamping authorities: without them no date counts. What a `revoked` key
signed is believed only where an outside anchor dates it before that time. Parsing is strict: a verifier that
believes less, or more, than was meant says what it could not read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NoReturn

from cryptography import x509
from msgspec import Struct

from authz.errors import ConfigError
from authz.ledger import certificates, keys, quorum, timestamps
from authz.ledger.members import is_time
from authz.ledger.quorum import Policy

MAX_TRUST: Final = 1 << 20  # bytes
MEMBERS: Final = frozenset(("log_keys", "record_keys", "witnesses", "tsa_roots", "record_roots", "revoked"))
LATER: Final = frozenset(("package_keys",))  # named by the format, not used yet
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_PREFIX: Final = re.compile(r"[^\s+]{1,511}/")


class Trust(Struct, frozen=True):
    """Pinned public keys (32 bytes each). `unused` are members that this version cannot use yet."""

    log_keys: dict[str, tuple[bytes, ...]]
    record_keys: tuple[bytes, ...]
    unused: tuple[str, ...] = ()
    witnesses: Policy | None = None
    tsa_roots: tuple[x509.Certificate, ...] = ()
    revoked: dict[str, str] = {}
    record_roots: tuple[x509.Certificate, ...] = ()

    def revoked_at(self, kid: str) -> float | None:
        """Unix seconds before which an anchor has to date what the key with this thumbprint signed."""
        at = self.revoked.get(kid)
        return datetime.fromisoformat(at).timestamp() if at else None

    def counts_until(self, signers: Iterable[bytes]) -> float:
        """Before when (Unix seconds) what all of these keys signed has to be dated by others; inf if one of
        them is not revoked.
        """
        moments = [self.revoked_at(keys.thumbprint(public)) for public in signers]
        return math.inf if None in moments else max(at for at in moments if at is not None)

    def log_keys_of(self, log: str) -> tuple[bytes, ...]:
        """The keys of which one must have signed each checkpoint of `log`; none if none is pinned."""
        fitting = [prefix for prefix in self.log_keys if log.startswith(prefix)]
        return self.log_keys[max(fitting, key=len)] if fitting else ()


def load(path: Path) -> Trust:
    """Raises ConfigError with the file and the member that is wrong."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TRUST + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    return parse(data, str(path))


def parse(data: bytes, name: str = "trust.json") -> Trust:
    """Raises ConfigError, calling the file `name`."""
    tree = _object(data, name)
    unused = tree.keys() - MEMBERS
    if strangers := unused - LATER:
        _refuse(name, f"{min(strangers)!r} is no member of it")
    log_keys, record_keys = tree.get("log_keys"), tree.get("record_keys")
    if not isinstance(log_keys, dict):
        _refuse(name, "log_keys: missing, or not an object of origin prefixes and JWKs")
    if not isinstance(record_keys, list):
        _refuse(name, "record_keys: missing, or not an array of JWKs")
    for prefix in log_keys:
        if not _PREFIX.fullmatch(prefix):
            _refuse(name, f"log_keys: {prefix!r} is not an origin prefix, which ends with `/`")
    return Trust(
        {prefix: _publics(jwks, name, f"log_keys[{prefix!r}]") for prefix, jwks in log_keys.items()},
        tuple(_public(jwk, name, f"record_keys[{place}]") for place, jwk in enumerate(record_keys)),
        tuple(sorted(unused)),
        _witnesses(tree, name),
        _roots(tree, name, "tsa_roots", timestamps.read_roots),
        _revoked(tree, name),
        _roots(tree, name, "record_roots", certificates.read_roots),
    )


def export(
    log_keys: Mapping[str, Sequence[bytes]],
    record_keys: Iterable[bytes],
    *,
    witnesses: Policy | None = None,
    tsa_roots: Iterable[x509.Certificate] = (),
    revoked: Mapping[str, str] | None = None,
    record_roots: Iterable[x509.Certificate] = (),
) -> bytes:
    """The file that pins these public keys. Raises ConfigError for what `parse` would refuse."""
    tree: dict[str, Any] = {
        "log_keys": {prefix: _jwks(publics) for prefix, publics in log_keys.items()},
        "record_keys": [keys.jwk(public) for public in record_keys],
    }
    if witnesses:
        tree["witnesses"] = witnesses.lines()
    for member, roots in (("tsa_roots", tsa_roots), ("record_roots", record_roots)):
        if printed := [timestamps.print_root(root) for root in roots]:
            tree[member] = printed
    if revoked:
        tree["revoked"] = dict(revoked)
    data = json.dumps(tree, indent=1, sort_keys=True).encode() + b"\n"
    parse(data)
    return data


def _witnesses(tree: dict[str, Any], name: str) -> Policy | None:
    if "witnesses" not in tree:
        return None
    try:
        return quorum.parse("\n".join(_texts(tree["witnesses"])).encode())
    except ValueError as error:
        _refuse(name, f"witnesses: {error}")


def _roots(
    tree: dict[str, Any], name: str, member: str, read: Callable[[bytes], tuple[x509.Certificate, ...]]
) -> tuple[x509.Certificate, ...]:
    if member not in tree:
        return ()
    try:
        return read("\n".join(_texts(tree[member])).encode())
    except ValueError as error:
        _refuse(name, f"{member}: {error}")


def _revoked(tree: dict[str, Any], name: str) -> dict[str, str]:
    found = tree.get("revoked", {})
    if not isinstance(found, dict):
        _refuse(name, "revoked: not an object of thumbprints and times")
    for kid, at in found.items():
        if not _THUMBPRINT.fullmatch(kid):
            _refuse(name, f"revoked: {kid!r} is not a thumbprint of 43 characters")
        if not is_time(at):
            _refuse(name, f"revoked[{kid!r}]: not RFC 3339 in UTC with six decimals")
    return found


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError("not an array of strings")
    return value


def _object(data: bytes, name: str) -> dict[str, Any]:
    if len(data) > MAX_TRUST:
        _refuse(name, f"longer than {MAX_TRUST} bytes")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a member stands twice")
        return found

    try:
        tree = json.loads(data, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        _refuse(name, f"not JSON: {error}")
    if not isinstance(tree, dict):
        _refuse(name, "not an object")
    return tree


def _jwks(publics: Sequence[bytes]) -> Any:
    """One key as itself, so that who reads only such files reads it."""
    jwks = [keys.jwk(public) for public in publics]
    return jwks[0] if len(jwks) == 1 else jwks


def _publics(jwks: Any, name: str, member: str) -> tuple[bytes, ...]:
    if not isinstance(jwks, list):
        return (_public(jwks, name, member),)
    if not jwks:
        _refuse(name, f"{member}: no key")
    return tuple(_public(jwk, name, f"{member}[{place}]") for place, jwk in enumerate(jwks))


def _public(jwk: Any, name: str, member: str) -> bytes:
    try:
        return keys.from_jwk(jwk)
    except ValueError as error:
        _refuse(name, f"{member}: {error}")


def _refuse(name: str, what: str) -> NoReturn:
    raise ConfigError(f"{name}: {what}") from None
