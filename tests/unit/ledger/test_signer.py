"""Attestations as other people's software reads them."""

from __future__ import annotations

import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from authz.ledger import keys
from authz.ledger.attestation import TYPE
from authz.ledger.signer import Signer

SEED = bytes(range(32))
MEMBERS = {
    "decision_id": "d-1",
    "kind": "decision",
    "log": "a/b/c",
    "policy_version": "v1",
    "seq": 7,
    "signer_id": "a/b",
    "timestamp": "2026-01-01T00:00:00.000000Z",
    "tool": "ehr.read",
}


def test_another_implementation_verifies_it_and_reads_what_it_says() -> None:
    signer = Signer(SEED)
    token = signer.attest(MEMBERS, b"{}").decode()
    key = Ed25519PublicKey.from_public_bytes(keys.public_key(SEED))
    claims = jwt.decode(token, key, algorithms=["EdDSA"])
    named = {name: value for name, value in MEMBERS.items() if name != "tool"}
    assert claims == named | {
        "entry_sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    }
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "kid": signer.kid, "typ": TYPE}


def test_its_key_is_named_as_rfc_7638_says() -> None:
    signer = Signer(SEED)
    thumbprint = jwt.PyJWK.from_dict({**signer.public_jwk, "alg": "EdDSA"})
    assert thumbprint.key.public_bytes_raw() == signer.public
    assert signer.kid == keys.thumbprint(signer.public)


def test_another_key_does_not_verify_it() -> None:
    token = Signer(SEED).attest(MEMBERS, b"{}").decode()
    other = Ed25519PublicKey.from_public_bytes(keys.public_key(bytes(32)))
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, other, algorithms=["EdDSA"])


def test_members_that_an_entry_does_not_have_are_left_out() -> None:
    token = Signer(SEED).attest({"kind": "heartbeat"}, b"{}").decode()
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims.keys() == {"kind", "entry_sha256"}
    assert json.loads(json.dumps(claims)) == claims
