"""What an attestation must be (EVIDENCE section 2), and whether it is one by a pinned key.

    <base64url header>.<base64url payload>.<base64url Ed25519 signature>          (RFC 7515, RFC 8037)
    header   {"alg":"EdDSA","kid":"<RFC 7638 thumbprint>","typ":"aegis-attestation+jwt"}
    payload  what the entry says of itself, and entry_sha256 of its bytes without the attestation

In: an entry's bytes and members. Out: nothing, or ValueError. Header and payload have one form each, so they
are compared and never interpreted: there is no `alg`, `jwk` or `jku` for a token to choose.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64decode
from binascii import Error, b2a_base64
from collections.abc import Iterable
from typing import Any, Final

from authz import canonical
from authz.ledger import keys, notes

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


class Attestations:
    """Judges attestations by pinned record keys (32 bytes each)."""

    def __init__(self, record_keys: Iterable[bytes]) -> None:
        self._keys = {
            header(kid, algorithm).decode(): (kid, public)
            for kid, public in ((keys.thumbprint(public), public) for public in record_keys)
            for algorithm in ALGORITHMS
        }

    def check(self, entry: bytes, members: dict[str, Any]) -> str:
        """The `kid` of the pinned key that attests these bytes. Raises ValueError: who does not, and why."""
        token: str = members["attestation_signature"]
        parts = token.split(".")
        if len(parts) != 3:
            raise ValueError("attestation: not a compact JWS")
        if parts[0] not in self._keys:
            raise ValueError(f"attestation: {_objection(parts[0])}")
        kid, public = self._keys[parts[0]]
        member = b'"attestation_signature":"' + token.encode() + b'",'
        unsigned = entry.replace(member, b"", 1)
        if parts[1].encode() != payload(members, unsigned):
            raise ValueError("attestation: it is of another entry than this one")
        signature = _decode(parts[2])
        if signature is None or not notes.verifies(public, signature, f"{parts[0]}.{parts[1]}".encode()):
            raise ValueError("attestation: the signature is wrong")
        return kid


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
