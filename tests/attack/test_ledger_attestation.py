"""An attacker with the disk rewrites a record and attests it himself, in every way a token can be made.

The log is not sealed and the forged entry is its last, so nothing but the attestation stands in the way.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz import canonical
from authz.ledger import attestation, keys, merkle, notes
from authz.ledger.attestation import base64url
from authz.ledger.signer import Signer
from tests import ledgers

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"
KID = ledgers.SIGNER.kid
PUBLIC = keys.public_key(ledgers.RECORD_SEED)
MINE = Ed25519PrivateKey.from_private_bytes(ledgers.OTHER_SEED)
MY_JWK = keys.jwk(keys.public_key(ledgers.OTHER_SEED))
MY_KID = keys.thumbprint(keys.public_key(ledgers.OTHER_SEED))


def header(**members: Any) -> bytes:
    return base64url(canonical.encode({"alg": "EdDSA", "kid": KID, "typ": attestation.TYPE} | members))


def mine(head: bytes) -> Callable[[bytes], bytes]:
    """A token with this header, well signed by the attacker's key."""

    def make(payload: bytes) -> bytes:
        return head + b"." + payload + b"." + base64url(MINE.sign(head + b"." + payload))

    return make


def hs256(secret: bytes) -> Callable[[bytes], bytes]:
    """The old confusion: a secret that everybody knows."""

    def make(payload: bytes) -> bytes:
        message = header(alg="HS256") + b"." + payload
        return message + b"." + base64url(hmac.digest(secret, message, hashlib.sha256))

    return make


FORGERIES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "by my key in your name": (mine(header()), "the signature is wrong"),
    "by my key in my name": (mine(header(kid=MY_KID)), "a key that is not in trust"),
    "unknown kid": (mine(header(kid="who")), "a key that is not in trust"),
    "jwk": (mine(header(jwk=MY_JWK)), "a member besides alg, kid and typ"),
    "jwk and my kid": (mine(header(jwk=MY_JWK, kid=MY_KID)), "a member besides"),
    "jku": (mine(header(jku="https://evil.example/jwks.json")), "a member besides"),
    "x5u": (mine(header(x5u="https://evil.example/cert.pem")), "a member besides"),
    "x5c": (mine(header(x5c=["MIIB"])), "a member besides"),
    "crit": (mine(header(crit=["exp"])), "a member besides"),
    "alg none, no signature": (
        lambda payload: header(alg="none") + b"." + payload + b".",
        "alg is not EdDSA",
    ),
    "alg None": (mine(header(alg="None")), "alg is not EdDSA"),
    "alg none, my signature": (mine(header(alg="none")), "alg is not EdDSA"),
    "HS256 with the public key": (hs256(PUBLIC), "alg is not EdDSA"),
    "HS256 with the JWK": (hs256(json.dumps(keys.jwk(PUBLIC)).encode()), "alg is not EdDSA"),
    "HS256 with nothing": (hs256(b""), "alg is not EdDSA"),
    "Ed448": (mine(header(alg="Ed448")), "alg is not EdDSA"),
    "ES256": (mine(header(alg="ES256")), "alg is not EdDSA"),
    "typ JWT": (mine(header(typ="JWT")), "typ is not"),
    "typ missing": (mine(base64url(canonical.encode({"alg": "EdDSA", "kid": KID}))), "typ is not"),
    "no kid": (
        mine(base64url(canonical.encode({"alg": "EdDSA", "typ": attestation.TYPE}))),
        "a member besides",
    ),
    "all zeros": (
        lambda payload: header() + b"." + payload + b"." + base64url(bytes(64)),
        "signature is wrong",
    ),
    "a point of small order": (
        lambda payload: header() + b"." + payload + b"." + base64url(b"\x01" + bytes(63)),
        "signature is wrong",
    ),
}


def forged(make: Callable[[bytes], bytes], **changed: Any) -> bytes:
    """The second entry of the log, saying what the attacker wants."""
    opening = next(ledgers.chain(ledgers.story(1), LOG))
    entry = ledgers.line(ledgers.decision(1) | changed, LOG, 1, merkle.leaf_hash(opening).hex())
    members = canonical.parse(entry)
    del members["attestation_signature"]
    token = make(attestation.payload(members, canonical.encode(members)))
    return canonical.encode(members | {"attestation_signature": token.decode()})


def store(tmp_path: Path, entry: bytes) -> Path:
    epoch = ledgers.write(tmp_path, 1, sealed=False)
    ledgers.edit(epoch, lambda entries: entries.append(entry))
    return epoch


def test_the_forgery_is_good_but_for_the_key(tmp_path: Path) -> None:
    """With the pinned key the same steps give an entry that verifies, so the others fail for their token."""
    key = Ed25519PrivateKey.from_private_bytes(ledgers.RECORD_SEED)

    def make(payload: bytes) -> bytes:
        message = header() + b"." + payload
        return message + b"." + base64url(key.sign(message))

    store(tmp_path, forged(make, decision="deny"))
    assert ledgers.check(tmp_path).verified


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_attestation_is_found_and_named(tmp_path: Path, name: str) -> None:
    make, why = FORGERIES[name]
    store(tmp_path, forged(make, decision="deny"))
    fault = ledgers.found(tmp_path)
    assert why in fault.what
    assert fault.what.startswith("attestation: ")
    assert (fault.line, fault.seq) == (2, 1)


def test_a_jwt_library_that_believes_the_header_would_have_taken_it() -> None:
    """Why the header is compared and never believed: this one carries its own key."""
    members = canonical.parse(forged(mine(header(jwk=MY_JWK, kid=MY_KID))))
    token = members["attestation_signature"]
    believed = jwt.PyJWK(jwt.get_unverified_header(token)["jwk"], algorithm="EdDSA")
    assert jwt.decode(token, believed, algorithms=["EdDSA"])["kind"] == "decision"


def test_keys_that_a_log_names_itself_are_not_believed(tmp_path: Path) -> None:
    """A whole ledger of the attacker's, which introduces his keys as its own."""
    signer = Signer(ledgers.OTHER_SEED)
    opening = {"record_keys": [signer.public_jwk], "log_vkey": keys.vkey(LOG, signer.public)}
    epoch = ledgers.write(tmp_path, ledgers.story(3, opening=opening), signer=signer, sealed=False)
    assert "not in trust" in ledgers.found(tmp_path).what
    ledgers.seal(epoch, LOG, seed=ledgers.OTHER_SEED)
    assert "not in trust" in ledgers.found(tmp_path).what
    assert "not signed" in ledgers.found(tmp_path, 1).what


def test_the_log_key_cannot_attest(tmp_path: Path) -> None:
    ledgers.write(tmp_path, 2, signer=Signer(ledgers.LOG_SEED))
    assert "not in trust" in ledgers.found(tmp_path).what


def test_an_attestation_of_another_place_cannot_be_used_again(tmp_path: Path) -> None:
    """It names log and seq: the same decision a second time needs a second signature."""
    epoch = ledgers.write(tmp_path, 3, sealed=False)
    old = ledgers.members(epoch)[1]
    moved = old | {"seq": 3, "previous_entry_hash": merkle.leaf_hash(ledgers.read(epoch)[2]).hex()}
    ledgers.edit(epoch, lambda entries: entries.append(canonical.encode(moved)))
    fault = ledgers.found(tmp_path)
    assert (fault.line, fault.what) == (4, "attestation: it is of another entry than this one")


@pytest.mark.parametrize(
    "changed",
    [
        {"agent_id": "other-agent"},
        {"decision": "deny"},
        {"tool": "ehr.export"},
        {"timestamp": "2020-01-01T00:00:00.000000Z"},
        {"policy_version": "v9"},
        {"params_hash": "0" * 64},
        {"signer_id": "aegis.test/worker-1"},
        {"kind": "heartbeat"},
        {"decision_id": "019b7690-0001-7000-8000-00000000ffff"},
        {"new_member": "x"},
        {"a": {"attestation_signature": "x"}},
    ],
)
def test_every_member_is_under_the_attestation(tmp_path: Path, changed: dict[str, Any]) -> None:
    epoch = ledgers.write(tmp_path, 2, sealed=False)
    ledgers.rechain(epoch, lambda entries: entries[1].update(changed))
    fault = ledgers.found(tmp_path)
    assert (fault.line, fault.what) == (2, "attestation: it is of another entry than this one")


def test_the_attestation_may_not_hide_in_another_member(tmp_path: Path) -> None:
    """A copy that sorts before the real one, so that cutting out the first would cut the wrong one."""
    epoch = ledgers.write(tmp_path, 2, sealed=False)

    def hide(entries: list[ledgers.Members]) -> None:
        token = entries[1]["attestation_signature"]
        entries[1]["a"] = {"attestation_signature": token, "z": 1}

    ledgers.rechain(epoch, hide)
    assert "another entry" in ledgers.found(tmp_path).what


def test_a_checkpoint_s_signature_is_no_attestation_and_the_other_way_round(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 2)
    token = ledgers.members(epoch)[1]["attestation_signature"]
    signature = base64url(notes.parse((epoch / "checkpoint").read_bytes()).signatures[0].signature).decode()
    head, payload, _ = token.split(".")
    ledgers.rechain(
        epoch, lambda entries: entries[1].update(attestation_signature=f"{head}.{payload}.{signature}")
    )
    assert "signature is wrong" in ledgers.found(tmp_path).what
