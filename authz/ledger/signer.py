"""Attestations: a compact JWS over what an entry is (EVIDENCE section 2).

In: the bytes of an entry without its attestation. Out: `header.payload.signature`, Ed25519 (RFC 8032). Called
by the writer for every entry; its form is `attestation.py`'s, which verifiers share; they never import this.
"""

from __future__ import annotations

from typing import Any, Final

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from authz.ledger import attestation, certificates, keys

ALWAYS: Final = "9999"  # after every timestamp


class Signer:
    """Holds one record key, made from its 32-byte seed. `public_jwk` is what verifiers pin, unless they pin a
    root whose `certificate` (base64) it has: then it attests from `since` to `until` and at no other time.
    """

    def __init__(self, seed: bytes, certificate: str = "") -> None:
        self.public, self._secret = crypto_sign_seed_keypair(seed)
        self.public_jwk = keys.jwk(self.public)
        self.kid = keys.thumbprint(self.public)
        self.certificate, self.since, self.until = certificate, "", ALWAYS
        if certificate:
            self.since, self.until = certificates.window(certificates.read(certificate))
        self._header = attestation.header(self.kid) + b"."

    def attest(self, members: dict[str, Any], unsigned: bytes) -> bytes:
        """The attestation of the entry whose other members are `members`, encoded as `unsigned`."""
        message = self._header + attestation.payload(members, unsigned)
        return message + b"." + attestation.base64url(crypto_sign(message, self._secret)[:64])
