"""What an attestation must be (EVIDENCE section 2), and whether it is one by a pinned key.

    <base64url header>.<base64url payload>.<base64url Ed25519 signature>          (RFC 7515, RFC 8037)
    header   {"alg":"EdDSA","kid":"<RFC 7638 thumbprint>","typ":"aegis-attestation+jwt"}
    payload  what the entry says of itself, and entry_sha256 of its bytes without the attestation

In: an entry's bytes and members. Out: its kid, or ValueError. Header and payload have one form each, so they
are compared and never interpreted: there is no `alg`, `jwk` or `jku` for a token to choose.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64decode
from binascii import Error, b2a_base64
from collections.abc import Iterable
from typing import Any, Final

from cryptography import x509

from authz import canonical
from authz.ledger import certificates, keys, notes
from authz.ledger.certificates import Certified

TYPE: Final = "aegis-attestation+jwt"
ALGORITHMS: Final = ("EdDSA", "Ed25519")  # RFC 8037, RFC 9864: one and the same for OKP keys on Ed25519
NAMED: Final = ("decision_id", "kind", "log", "policy_version", "seq", "signer_id", "timestamp")
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")


def base64url(data: bytes) -> bytes:
    """Base64url without padding (RFC 7515 section 2)."""
    return b2a_base64(data, newline=False).translate(_URL_SAFE).rstrip(b"=")


def header(kid: str, algorithm: str = ALGORITHMS[0]) -> bytes:
    """The first part of an attestation by the key with thumbprint `kid`."""
    return base64url(canonical.encode({"alg": algorithm, "kid": kid, "typ": TYPE}))


def payload(members: dict[str, Any], unsigned: bytes) -> bytes:
    """The second part: what the entry encoded as `unsigned` (without attestation) says of itself."""
    named: dict[str, Any] = {name: members[name] for name in NAMED if name in members}
    named["entry_sha256"] = hashlib.sha256(unsigned).hexdigest()
    return base64url(canonical.encode(named))


def kid_of(members: dict[str, Any]) -> str:
    """By whom an entry's attestation says to be; "" if it says nothing. Nobody has checked it."""
    decoded = _decode(str(members.get("attestation_signature")).split(".")[0])
    try:
        return str(canonical.parse(decoded or b"").get("kid", ""))
    except ValueError:
        return ""


class Attestations:
    """Judges attestations by pinned record keys (32 bytes each), and by keys that are `certified`."""

    def __init__(self, record_keys: Iterable[bytes], certified: Iterable[Certified] = ()) -> None:
        self._keys: dict[str, tuple[str, bytes]] = {}
        self._windows: dict[str, Certified] = {}
        self._refused = ""  # why the last certificate that was brought does not hold
        for public in record_keys:
            self._take(public)
        for each in certified:
            self.learn(each)

    def learn(self, certified: Certified) -> None:
        """From here on also this key counts, within its time. One that is pinned counts at any time."""
        kid = keys.thumbprint(certified.public)
        if header(kid).decode() not in self._keys or kid in self._windows:
            self._take(certified.public)
            self._windows[kid] = certified

    def bring(self, members: dict[str, Any], roots: Iterable[x509.Certificate]) -> None:
        """Learn the key whose certificate an `open` or `key` entry brings, if one of `roots` signed it."""
        if "certificate" in members:
            try:
                self.learn(certificates.check(members["certificate"], roots, members["log"]))
            except ValueError as error:
                self._refused = str(error)

    @property
    def issuers(self) -> dict[str, str]:
        """For each kid that counts by its certificate, the thumbprint of who signed that."""
        return {kid: certified.issuer for kid, certified in self._windows.items()}

    def _take(self, public: bytes) -> None:
        kid = keys.thumbprint(public)
        for algorithm in ALGORITHMS:
            self._keys[header(kid, algorithm).decode()] = kid, public

    def check(self, entry: bytes, members: dict[str, Any]) -> str:
        """The `kid` of the pinned key that attests these bytes. Raises ValueError: who does not, and why."""
        token: str = members["attestation_signature"]
        parts = token.split(".")
        if len(parts) != 3:
            raise ValueError("attestation: not a compact JWS")
        if parts[0] not in self._keys:
            refused = f"; {self._refused}" if self._refused else ""
            raise ValueError(f"attestation: {_objection(parts[0])}{refused}")
        kid, public = self._keys[parts[0]]
        member = b'"attestation_signature":"' + token.encode() + b'",'
        unsigned = entry.replace(member, b"", 1)
        if parts[1].encode() != payload(members, unsigned):
            raise ValueError("attestation: it is of another entry than this one")
        signature = _decode(parts[2])
        if signature is None or not notes.verifies(public, signature, f"{parts[0]}.{parts[1]}".encode()):
            raise ValueError("attestation: the signature is wrong")
        if kid in self._windows:
            _check_window(self._windows[kid], kid, members)
        return kid


def _check_window(certified: Certified, kid: str, members: dict[str, Any]) -> None:
    """After its certificate ran out a key may do one thing: hand over to the next one."""
    if certified.since <= members["timestamp"] <= certified.until:
        return
    hands_over = members["kind"] == "key" and members.get("of") == members["log"]
    if hands_over and members["timestamp"] > certified.until:
        return
    when = f"from {certified.since} to {certified.until}"
    raise ValueError(f"attestation: by key {kid}, whose certificate holds {when}")


def _objection(part: str) -> str:
    """Why a header is not one that a pinned key writes. Never more than a hint: it is refused already."""
    decoded = _decode(part)
    try:
        members = canonical.parse(decoded or b"")
    except ValueError:
        return "its header is not in the one form"
    if members.get("typ") != TYPE:
        return f"typ is not {TYPE}"
    if members.get("alg") not in ALGORITHMS:
        return "alg is not EdDSA"
    if members.keys() != {"alg", "kid", "typ"}:
        return "its header has a member besides alg, kid and typ"
    return "by a key that is not in trust"


def _decode(text: str) -> bytes | None:
    """Base64url without padding that prints back to `text`; None for anything else."""
    if not _BASE64URL.fullmatch(text):
        return None
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except Error:
        return None
    return data if base64url(data).decode() == text else None
