"""Makes attestations: a compact JWS over what an entry is, in the form that `attestation.py` gives.

In: the members of an entry and its bytes without attestation. Out: `header.payload.signature`, Ed25519
(RFC 8032). Called by the writer for every entry; readers and verifiers never import this.
"""

from __future__ import annotations

from typing import Any

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from authz.ledger import attestation, keys


class Signer:
    """Holds one record key. `public_jwk` is what verifiers pin."""

    def __init__(self, seed: bytes) -> None:
        public, self._secret = crypto_sign_seed_keypair(seed)
        self.public_jwk = keys.jwk(public)
        self.kid = keys.thumbprint(public)
        self._header = attestation.header(self.kid) + b"."

    def attest(self, members: dict[str, Any], unsigned: bytes) -> str:
        """The attestation of the entry whose other members are `members`, encoded as `unsigned`."""
        message = self._header + attestation.payload(members, unsigned)
        signature = crypto_sign(message, self._secret)[:64]
        return (message + b"." + attestation.base64url(signature)).decode("ascii")
