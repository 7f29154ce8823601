"""A token that the issuer did not sign for this purpose, by the means known from other systems."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.utils import base64url_decode, der_to_raw_signature, raw_to_der_signature

from authz.errors import Denied
from authz.identity.jwt import MAX_TOKEN, Identifier
from tests.tokens import NOW, Clock, Issuer, an_identifier, b64, claims_of, presenting, write_keys

ED = Issuer("ed")
EC = Issuer("ec", "ES256")
STRANGER = Issuer("ed")
RAW_PUBLIC = serialization.Encoding.Raw, serialization.PublicFormat.Raw
PEM_PUBLIC = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo


@pytest.fixture(scope="module")
def identifier(tmp_path_factory: pytest.TempPathFactory) -> Identifier:
    file = write_keys(tmp_path_factory.mktemp("keys") / "jwks.json", ED, EC)
    return an_identifier(file, Clock())


def refused(identifier: Identifier, token: str) -> str:
    """The detail of the refusal; it never shows anything of the token."""
    with pytest.raises(Denied) as caught:
        identifier.identify(presenting(token))
    assert caught.value.reason == "identity_invalid"
    for part in token.split("."):
        assert len(part) < 8 or part not in caught.value.detail
    return caught.value.detail


def unsigned(header: dict[str, Any], signature: str = "") -> str:
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims_of(NOW)).encode())}.{signature}"


def test_a_token_of_another_key_with_a_known_kid(identifier: Identifier) -> None:
    assert "signature" in refused(identifier, STRANGER.token())


def test_a_token_whose_kid_nobody_knows(identifier: Identifier) -> None:
    assert "no such key" in refused(identifier, ED.token(header={"kid": "other"}))


@pytest.mark.parametrize("kid", [None, 7, "", ["ed"], {"a": 1}, "ed\x00", "ED", "a" * 5000])
def test_a_kid_that_names_no_key(identifier: Identifier, kid: Any) -> None:
    refused(identifier, ED.token(header={"kid": kid}))


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, "HS256", "RS256", ["EdDSA"], 1])
def test_an_algorithm_other_than_the_keys_own(identifier: Identifier, alg: Any) -> None:
    refused(identifier, ED.token(header={"alg": alg}))


@pytest.mark.parametrize("alg", ["none", "None", "NONE"])
def test_a_token_without_a_signature(identifier: Identifier, alg: str) -> None:
    for signature in ("", "AA"):
        refused(identifier, unsigned({"alg": alg, "kid": "ed"}, signature))


@pytest.mark.parametrize("issuer", [ED, EC], ids=["ed", "ec"])
def test_a_mac_keyed_with_the_public_key(identifier: Identifier, issuer: Issuer) -> None:
    public = issuer.private.public_key()
    secrets = [public.public_bytes(*PEM_PUBLIC), json.dumps(issuer.jwk).encode(), b""]
    if issuer is ED:
        secrets.append(public.public_bytes(*RAW_PUBLIC))
    for secret in secrets:
        body = unsigned({"alg": "HS256", "kid": issuer.kid}).removesuffix(".")
        refused(identifier, f"{body}.{b64(hmac.digest(secret, body.encode(), hashlib.sha256))}")


def test_the_algorithm_of_one_key_with_the_name_of_the_other(identifier: Identifier) -> None:
    refused(identifier, ED.token(header={"kid": "ec"}))
    refused(identifier, EC.token(header={"kid": "ed"}))
    refused(identifier, ED.token(header={"alg": "ES256"}))
    refused(identifier, ED.token(header={"kid": "ec", "alg": "ES256"}))


@pytest.mark.parametrize(
    "extra",
    [
        {"jwk": STRANGER.jwk},
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/cert.pem"},
        {"x5c": ["MIIB"]},
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
        {"b64": True},
        {"cty": "JWT"},
        {"enc": "A128GCM"},
        {"zip": "DEF"},
        {"url": "https://evil.example"},
        {"EdDSA": "alg"},
    ],
)
def test_a_header_that_asks_for_something(identifier: Identifier, extra: dict[str, Any]) -> None:
    """Signed by the right key even: what we do not read may not be there."""
    assert "header" in refused(identifier, ED.token(header=extra)) or "crit" in extra
    refused(identifier, STRANGER.token(header=extra))


@pytest.mark.parametrize("typ", ["aegis-attestation+jwt", "dpop+jwt", "logout+jwt", 7, ["JWT"]])
def test_a_signed_statement_of_another_kind_is_no_agents_token(identifier: Identifier, typ: Any) -> None:
    refused(identifier, ED.token(header={"typ": typ}))


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": None},
        {"iss": "https://agents.aegis.test/"},
        {"iss": ["https://agents.aegis.test"]},
        {"aud": None},
        {"aud": "aegis2"},
        {"aud": []},
        {"aud": {"aegis": 1}},
        {"aud": [["aegis"]]},
        {"exp": None},
        {"exp": str(NOW + 60)},
        {"exp": NOW + 60.0},
        {"exp": True},
        {"exp": 2**53 - 1},
        {"exp": 10**30},
        {"exp": 1e300},
        {"exp": -1},
        {"exp": NOW, "iat": NOW},
        {"exp": NOW - 10, "iat": NOW - 5},
        {"iat": None},
        {"iat": str(NOW)},
        {"iat": [NOW]},
        {"iat": NOW - 0.5},
        {"iat": True, "exp": 600},
        {"iat": -5, "exp": 100},
        {"nbf": str(NOW)},
        {"nbf": NOW + 31},
        {"nbf": 1.5},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": ["agent-1"]},
        {"sub": {"id": "agent-1"}},
        {"sub": "unknown"},
        {"sub": "agent-1\n"},
        {"sub": "agent 1"},
        {"sub": " agent-1"},
        {"sub": "agent-1\x00"},
        {"sub": "аgent-1"},
        {"sub": "-agent"},
        {"sub": "a" * 257},
        {"sub": '"},"agent_id":"x'},
        {"act": "parent"},
        {"act": []},
        {"act": {}},
        {"act": {"sub": ""}},
        {"act": {"sub": "a", "act": "b"}},
        {"act": {"sub": "a", "iss": "https://other.example"}},
        {"sid": 7},
        {"sid": ""},
        {"sid": "a" * 129},
        {"sid": "a b"},
        {"sid": "a", "session_id": "b"},
        {"cnf": {"jkt": "x"}},
        {"big": 2**53},
    ],
)
def test_signed_claims_that_do_not_say_what_is_required(
    identifier: Identifier, claims: dict[str, Any]
) -> None:
    refused(identifier, ED.token(**claims))


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"agent"',
        b"{",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b'{"sub":"a"}{"sub":"b"}',
        json.dumps(claims_of(NOW)).encode()[:-1] + b', "sub": "agent-2"}',
        json.dumps(claims_of(NOW)).encode()[:-1] + b', "s\\u0075b": "agent-2"}',
        json.dumps(claims_of(NOW)).encode()[:-1] + b', "x": NaN}',
        json.dumps(claims_of(NOW)).encode()[:-1] + b', "x": "\\ud800"}',
        json.dumps(claims_of(NOW)).encode()[:-1] + b', "x": ' + deep(17) + b"}",
        deep(900),
        b"[" * 5000,
    ],
)
def test_signed_bytes_that_are_no_claims(identifier: Identifier, payload: bytes) -> None:
    refused(identifier, ED.signed(payload))


def test_a_chain_too_deep_to_be_meant(identifier: Identifier) -> None:
    act: dict[str, Any] = {"sub": "a"}
    for _ in range(12):
        act = {"sub": "a", "act": act}
    assert "actors" in refused(identifier, ED.token(act=act))


def test_a_header_too_deep_to_be_meant(identifier: Identifier) -> None:
    for bomb in (b"[" * 5000, b'{"a":' * 1200, b"{}", b"[]", b"1", b"\xff"):
        refused(identifier, f"{b64(bomb)}.{b64(b'{}')}.{b64(bytes(64))}")


def test_a_giant_token(identifier: Identifier) -> None:
    just, over = (ED.token(pad="x" * size) for size in (5800, 5999))
    assert len(just) <= MAX_TOKEN < len(over)
    assert identifier.identify(presenting(just))
    for text in (over, "a" * (MAX_TOKEN + 1), f"{ED.token()}{'A' * MAX_TOKEN}", "." * MAX_TOKEN):
        refused(identifier, text)


def variants(token: str) -> Iterator[str]:
    head, body, signature = token.split(".")
    yield from (f"{head}.{body}", f"{head}.{body}.", f".{body}.{signature}", f"{token}.", f"{token}.{body}")
    yield from (
        f"{token}=",
        f"{token}==",
        f"{head}=.{body}.{signature}",
        f"{token}\n",
        f" {token}",
        f"{token} ",
    )
    yield from (
        f"{head}.{body}.!{signature}",
        f"{head}.{body}.{signature}/",
        token.replace("_", "/", 1) + "+",
    )
    yield from (
        f"Bearer\t{token}",
        f"Bearer  {token} ",
        f"Bearer Bearer {token}",
        "Bearer ",
        "Bearer",
        "",
        " ",
    )
    yield from (f"{token}\ud800", f"Bearer \udfff{token}")
    yield from (f"Basic {token}", f"\ufeff{token}", token[:-1] + "\u0410", f"{token}\x00", "..", ".", "a.b.c")


def test_the_same_token_written_otherwise(identifier: Identifier) -> None:
    """Were it accepted, one token would be many, and each would take a place in the cache."""
    token = ED.token()
    assert identifier.identify(presenting(token))
    for variant in variants(token):
        refused(identifier, variant)


def test_the_unused_bits_of_a_signature_are_zero(identifier: Identifier) -> None:
    token = ED.token()
    assert token[-1] in "AQgw"  # 86 digits for 64 bytes: the last has four bits to spare
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for other in alphabet.replace(token[-1], ""):
        refused(identifier, token[:-1] + other)


def test_an_ecdsa_signature_in_der_or_with_other_lengths(identifier: Identifier) -> None:
    head, body, signature = EC.token().split(".")
    raw = base64url_decode(signature)
    der = raw_to_der_signature(raw, EC.private.curve)
    for forged in (der, raw + b"\x00", raw[:-1], bytes(64), b"\xff" * 64, raw[32:] + raw[:32]):
        refused(identifier, f"{head}.{body}.{b64(forged)}")


def test_the_other_form_of_an_ecdsa_signature_says_nothing_new(identifier: Identifier) -> None:
    """ECDSA has two signatures for one statement; both are the issuer's and name the same subject."""
    head, body, signature = EC.token().split(".")
    r, s = decode_dss_signature(raw_to_der_signature(base64url_decode(signature), EC.private.curve))
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    other = der_to_raw_signature(encode_dss_signature(r, order - s), EC.private.curve)
    assert identifier.identify(presenting(f"{head}.{body}.{b64(other)}")).agent_id == "agent-1"


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, 10**6), character=st.sampled_from("AZaz09-_.=+/ ,~\x00é"))
def test_one_changed_character_anywhere(identifier: Identifier, position: int, character: str) -> None:
    token = ED.token()
    place = position % len(token)
    if token[place] != character:
        with pytest.raises(Denied):
            identifier.identify(presenting(token[:place] + character + token[place + 1 :]))


def test_parts_of_two_tokens(identifier: Identifier) -> None:
    mine, theirs = ED.token(sub="weak").split("."), ED.token(sub="strong").split(".")
    for pick in range(1, 7):
        parts = [(mine, theirs)[pick >> place & 1][place] for place in range(3)]
        if parts[1:] not in (mine[1:], theirs[1:]):
            refused(identifier, ".".join(parts))


def test_nothing_of_a_forged_token_is_kept(tmp_path: Path) -> None:
    """Failures are never remembered: the stranger's key, once it is trusted, works at once."""
    file = write_keys(tmp_path / "jwks.json", ED)
    identifier = an_identifier(file, Clock())
    token = Issuer("late")
    text = token.token()
    refused(identifier, text)
    write_keys(file, ED, token)
    identifier.refresh()
    assert identifier.identify(presenting(text)).agent_id == "agent-1"
