"""A disclosure and its line: what other people's code accepts, and nothing else."""

import json
from base64 import b64encode, urlsafe_b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS
from sd_jwt.verifier import SDJWTVerifier

from authz import canonical
from authz.ledger.disclosures import form
from authz.ledger.disclosures.form import Line

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
LOG, KEY_ID = "d/w/e", "0123456789abcdef"


def test_the_published_example_has_the_digest_that_it_says() -> None:
    """RFC 9901 section 4.2.3."""
    text = "WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0"
    assert form.digest(text) == "X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0"
    found = form.parse(text)
    assert (found.salt, found.name, found.value) == ("_26bc4LT-ac6q2KI6cBW5es", "family_name", "Möbius")


@given(JSON, st.text().filter(lambda name: name not in ("_sd", "...")))
def test_what_is_made_is_read_back(value: Any, name: str) -> None:
    found = form.parse(form.make(name, value, b"\x00" * 16))
    assert (found.name, found.value, found.salt) == (name, value, "A" * 22)


def text_of(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "YQ==",
        "YR",
        text_of(["salt", "name"]),
        text_of(["salt", "name", 1, 2]),
        text_of([1, "name", "value"]),
        text_of(["salt", 1, "value"]),
        text_of(["salt", "_sd", []]),
        text_of(["salt", "...", "x"]),
        text_of({"salt": 1}),
        urlsafe_b64encode(b"not json").decode().rstrip("="),
    ],
)
def test_what_is_no_disclosure_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a disclosure: "):
        form.parse(text)


def test_a_released_line_reads_back_and_so_does_a_kept_one() -> None:
    line = Line("id", 7, (form.make("a", 1, b"1" * 16), form.make("b", "x", b"2" * 16)))
    assert form.read(form.plain("id", 7, line.sd)) == line
    cipher = AESGCM(bytes(32))
    encrypted = form.read(form.encrypt(LOG, line, KEY_ID, cipher, bytes(12)))
    assert (encrypted.sd, encrypted.key, encrypted.seq) == ((), KEY_ID, 7)
    assert form.decrypt(LOG, encrypted, cipher) == line


def test_a_kept_line_opens_in_its_own_place_only() -> None:
    line, cipher = Line("id", 7, (form.make("a", 1, b"1" * 16),)), AESGCM(bytes(32))
    encrypted = form.read(form.encrypt(LOG, line, KEY_ID, cipher, bytes(12)))
    moved = [
        (LOG, Line("id", 8, key=KEY_ID, encrypted=encrypted.encrypted)),
        (LOG, Line("other", 7, key=KEY_ID, encrypted=encrypted.encrypted)),
        ("d/w/f", encrypted),
        (LOG, Line("id", 7, key=KEY_ID, encrypted=encrypted.encrypted[:-1] + b"\x00")),
        (LOG, Line("id", 7, key=KEY_ID, encrypted=b"")),
    ]
    for log, other in moved:
        with pytest.raises(ValueError, match="encrypted: changed, or of another entry"):
            form.decrypt(log, other, cipher)


GOOD = {"decision_id": "id", "sd": ["YQ"], "seq": 1}
KEPT = {"decision_id": "id", "key": KEY_ID, "encrypted": b64encode(b"x" * 40).decode(), "seq": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"seq": -1},
        {"seq": True},
        {"seq": "1"},
        {"decision_id": 1},
        {"sd": []},
        {"sd": ["YQ"] * 17},
        {"sd": [1]},
        {"sd": ["Y Q"]},
        {"more": 1},
        {"key": KEY_ID},
    ],
)
def test_a_line_of_another_form_is_refused(change: dict[str, Any]) -> None:
    form.read(canonical.encode(GOOD))
    with pytest.raises(ValueError, match=r"decision_id|sd"):
        form.read(canonical.encode(GOOD | change))


@pytest.mark.parametrize("change", [{"key": "x"}, {"encrypted": "#"}, {"encrypted": 1}, {"sd": ["YQ"]}])
def test_a_kept_line_of_another_form_is_refused(change: dict[str, Any]) -> None:
    form.read(canonical.encode(KEPT))
    with pytest.raises(ValueError, match=r"key|encrypted|sd"):
        form.read(canonical.encode(KEPT | change))


def test_other_people_s_library_takes_our_disclosures_for_our_digests() -> None:
    """The PyPI package sd-jwt, over a token whose payload is an entry's members."""
    texts = [
        form.make("facts", {"input": {"a": 1.5}}, b"1" * 16),
        form.make("client_address", "::1", b"2" * 16),
    ]
    entry = {"decision": "allow", "seq": 7, "_sd": sorted(map(form.digest, texts))}
    key = JWK.generate(kty="OKP", crv="Ed25519")
    found = SDJWTVerifier("~".join([signed(entry, key), *texts, ""]), lambda issuer, header: key)
    assert found.get_verified_payload() == {
        "decision": "allow",
        "seq": 7,
        "facts": {"input": {"a": 1.5}},
        "client_address": "::1",
    }
    erased = SDJWTVerifier("~".join([signed(entry, key), texts[0], ""]), lambda issuer, header: key)
    assert "client_address" not in erased.get_verified_payload()


def signed(payload: dict[str, Any], key: JWK) -> str:
    token = JWS(json.dumps(payload))
    token.add_signature(key, alg="EdDSA", protected=json.dumps({"alg": "EdDSA"}))
    return str(token.serialize(compact=True))
