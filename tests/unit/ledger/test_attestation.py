"""Attestations: the published bytes, somebody else's JWT library, and every token that is not the one."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from authz import canonical
from authz.ledger import attestation, keys
from authz.ledger.attestation import Attestations, base64url
from authz.ledger.signer import Signer
from tests import ledgers

VECTORS = Path(__file__).parents[2] / "vectors" / "ledger"
EXPECTED = json.loads((VECTORS / "expected.json").read_bytes())
STORED = (VECTORS / "entries" / "00000000.jsonl").read_bytes().splitlines()
SEED = bytes.fromhex(EXPECTED["record_key_seed"])
PUBLISHED = Attestations([keys.public_key(SEED)])


@pytest.mark.parametrize("entry", STORED)
def test_the_same_key_and_members_give_the_published_attestation(entry: bytes) -> None:
    members = canonical.parse(entry)
    token = members.pop("attestation_signature")
    assert Signer(SEED).attest(members, canonical.encode(members)) == token.encode()


@pytest.mark.parametrize("entry", STORED)
def test_published_attestations_verify_and_name_the_pinned_key(entry: bytes) -> None:
    assert PUBLISHED.check(entry, canonical.parse(entry)) == EXPECTED["kid"]


@pytest.mark.parametrize("entry", STORED)
def test_a_jwt_library_verifies_the_token_without_any_log(entry: bytes) -> None:
    members = canonical.parse(entry)
    token = members.pop("attestation_signature")
    key = jwt.PyJWK(keys.jwk(keys.public_key(SEED)), algorithm="EdDSA")
    claims = jwt.decode(token, key, algorithms=["EdDSA"])
    assert claims.pop("entry_sha256") == hashlib.sha256(canonical.encode(members)).hexdigest()
    assert claims == {name: members[name] for name in attestation.NAMED if name in members}


LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"
ENTRY = ledgers.line(ledgers.decision(1), LOG, 1, "0" * 64)
MEMBERS = canonical.parse(ENTRY)
TOKEN: str = MEMBERS["attestation_signature"]
HEADER, PAYLOAD, SIGNATURE = TOKEN.split(".")
OURS = Attestations([keys.public_key(ledgers.OTHER_SEED), *ledgers.TRUST.record_keys])


def test_any_pinned_key_may_have_signed() -> None:
    assert OURS.check(ENTRY, MEMBERS) == ledgers.SIGNER.kid


def test_the_new_name_of_the_algorithm_is_accepted() -> None:
    """RFC 9864 calls it Ed25519."""
    signer = Signer(ledgers.RECORD_SEED)
    signer._header = attestation.header(signer.kid, "Ed25519") + b"."
    entry = ledgers.line(ledgers.decision(1), LOG, 1, "0" * 64, signer)
    assert OURS.check(entry, canonical.parse(entry)) == signer.kid


def carrying(token: str) -> bytes:
    return ENTRY.replace(TOKEN.encode(), token.encode())


def refused(entry: bytes) -> str:
    with pytest.raises(ValueError) as refusal:
        OURS.check(entry, canonical.parse(entry))
    return str(refusal.value)


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "....",
        PAYLOAD,
        f"{HEADER}.{PAYLOAD}",
        f"{HEADER}.{PAYLOAD}.",
        f"{HEADER}..{SIGNATURE}",
        f".{PAYLOAD}.{SIGNATURE}",
        f"{TOKEN}.",
        f"{TOKEN}=",
        f" {TOKEN}",
        f"{HEADER}=.{PAYLOAD}.{SIGNATURE}",
        f"{HEADER}.{PAYLOAD}=.{SIGNATURE}",
        f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-1]}B",  # spare bits of the last character
        f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-1]}",
        f"{HEADER}.{PAYLOAD}.{SIGNATURE}AA",
        f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-4]}++/A",
        f"{HEADER}.{PAYLOAD}.ü",
        f"ü.{PAYLOAD}.{SIGNATURE}",
        "." * 8000,
    ],
)
def test_a_token_that_is_not_written_in_the_one_way_is_refused(token: str) -> None:
    assert refused(carrying(token)).startswith("attestation: ")


def test_it_is_of_these_bytes_and_no_others() -> None:
    assert "another entry" in refused(ENTRY.replace(b'"allow"', b'"deny"'))
    assert "another entry" in refused(ENTRY.replace(b'"seq":1', b'"seq":2'))
    other = ledgers.line(ledgers.decision(2), LOG, 2, "0" * 64)
    assert "another entry" in refused(other.replace(_token(other), TOKEN.encode()))


def _token(entry: bytes) -> bytes:
    token: str = canonical.parse(entry)["attestation_signature"]
    return token.encode()


def test_an_escaped_attestation_is_refused() -> None:
    """The member must stand in the bytes as it is cut out of them."""
    assert refused(carrying(f'{HEADER}.{PAYLOAD}.{SIGNATURE}\\"')).startswith("attestation: ")


def header(**changed: Any) -> str:
    members = {"alg": "EdDSA", "kid": ledgers.SIGNER.kid, "typ": attestation.TYPE} | changed
    return base64url(json.dumps(members, separators=(",", ":")).encode()).decode()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"alg": "none"}, "alg is not EdDSA"),
        ({"alg": "HS256"}, "alg is not EdDSA"),
        ({"alg": "eddsa"}, "alg is not EdDSA"),
        ({"alg": 5}, "alg is not EdDSA"),
        ({"alg": ["EdDSA"]}, "alg is not EdDSA"),
        ({"alg": {}}, "alg is not EdDSA"),
        ({"typ": "JWT"}, "typ is not"),
        ({"typ": {}}, "typ is not"),
        ({"kid": "unknown"}, "not in trust"),
        ({"kid": {}}, "not in trust"),
    ],
)
def test_a_header_of_another_kind_is_refused_and_named(changed: dict[str, Any], why: str) -> None:
    assert why in refused(carrying(f"{header(**changed)}.{PAYLOAD}.{SIGNATURE}"))


@pytest.mark.parametrize("text", ['{"alg":"EdDSA"', "null", "[]", '{"typ":"x","alg":"EdDSA"}', "", "{}"])
def test_a_header_that_is_no_object_in_canonical_form_is_refused(text: str) -> None:
    token = f"{base64url(text.encode()).decode()}.{PAYLOAD}.{SIGNATURE}"
    assert refused(carrying(token)).startswith("attestation: ")


@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", b"\xff\xfe\xfd\xfc" * 9])
def test_base64url_is_the_standard_library_s_without_padding(data: bytes) -> None:
    assert base64url(data) == base64.urlsafe_b64encode(data).rstrip(b"=")
