"""Attestations: a compact JWS over what an entry is (EVIDENCE section 2).

In: the bytes of an entry without its attestation. Out: `header.payload.signature`, Ed25519 (RFC 8032), as
RFC 7515 and RFC 8037 say. Called by the writer for every entry; readers and verifiers never import this.
"""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from typing import Any, Final

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from authz import canonical
from authz.ledger import keys

TYPE: Final = "aegis-attestation+jwt"
_NAMED: Final = ("decision_id", "kind", "log", "policy_version", "seq", "signer_id", "timestamp")


class Signer:
    """Holds one record key. `public_jwk` is what verifiers pin."""

    def __init__(self, seed: bytes) -> None:
        public, self._secret = crypto_sign_seed_keypair(seed)
        self.public_jwk = keys.jwk(public)
        self.kid = keys.thumbprint(public)
        header = canonical.encode({"alg": "EdDSA", "kid": self.kid, "typ": TYPE})
        self._header = base64url(header) + b"."

    def attest(self, members: dict[str, Any], unsigned: bytes) -> str:
        """The attestation of the entry whose other members are `members`, encoded as `unsigned`."""
        payload = {name: members[name] for name in _NAMED if name in members}
        payload["entry_sha256"] = hashlib.sha256(unsigned).hexdigest()
        message = self._header + base64url(canonical.encode(payload))
        signature = crypto_sign(message, self._secret)[:64]
        return (message + b"." + base64url(signature)).decode("ascii")


def base64url(data: bytes) -> bytes:
    """Base64url without padding (RFC 7515 section 2)."""
    return b2a_base64(data, newline=False).translate(_URL_SAFE).rstrip(b"=")


_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
