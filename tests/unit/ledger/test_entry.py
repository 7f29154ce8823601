"""Members -> bytes: encoded once, cut and put together so that outsiders find what was signed."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz import canonical
from authz.ledger.entry import GIVES_WAY, encode
from authz.ledger.form import MAX_ENTRY
from authz.ledger.signer import Signer

VECTORS = Path(__file__).parents[2] / "vectors" / "ledger"
SIGNER = Signer(bytes(range(32)))

names = st.text(st.characters(codec="ascii"), max_size=8) | st.just("attestation_signature")
values = st.recursive(
    st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=12) | st.just("\x00"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
members = st.dictionaries(names.filter(lambda name: name != "attestation_signature"), values, max_size=8)


def entry_of(size: int, name: str = "tool") -> dict[str, Any]:
    """Members whose entry is exactly `size` bytes, with the filling in `name`."""
    short = len(encode({"kind": "decision", name: ""}, SIGNER))
    return {"kind": "decision", name: "x" * (size - short)}


@settings(deadline=None)
@given(members)
def test_the_entry_is_the_canonical_encoding_of_its_members_and_attestation(said: dict[str, Any]) -> None:
    said = said | {"kind": "decision"}
    entry = encode(dict(said), SIGNER)
    token = json.loads(entry)["attestation_signature"]
    assert entry == canonical.encode(said | {"attestation_signature": token})


@settings(deadline=None)
@given(members)
def test_cutting_the_attestation_out_leaves_exactly_what_was_attested(said: dict[str, Any]) -> None:
    said = said | {"kind": "decision"}
    entry = encode(dict(said), SIGNER)
    token = json.loads(entry)["attestation_signature"]
    unsigned = entry.replace(f'"attestation_signature":"{token}",'.encode(), b"", 1)
    assert unsigned == canonical.encode(said)
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["entry_sha256"] == hashlib.sha256(unsigned).hexdigest()


def test_the_same_keys_and_members_give_the_published_bytes() -> None:
    expected = json.loads((VECTORS / "expected.json").read_bytes())
    signer = Signer(bytes.fromhex(expected["record_key_seed"]))
    assert signer.kid == expected["kid"]
    for line in (VECTORS / "entries" / "00000000.jsonl").read_bytes().split(b"\n")[:-1]:
        said = json.loads(line)
        del said["attestation_signature"]
        assert encode(said, signer) == line


def test_an_entry_at_the_limit_is_taken_as_it_is() -> None:
    said = entry_of(MAX_ENTRY)
    entry = encode(said, SIGNER)
    assert len(entry) == MAX_ENTRY
    assert json.loads(entry)["tool"] == said["tool"]


def test_an_entry_one_byte_over_the_limit_is_refused_if_nothing_gives_way() -> None:
    with pytest.raises(ValueError, match="16385 bytes is over the limit of 16384"):
        encode(entry_of(MAX_ENTRY + 1), SIGNER)


def test_an_entry_one_byte_over_the_limit_gives_way_to_a_digest() -> None:
    said = entry_of(MAX_ENTRY + 1, "endpoint")
    digest = hashlib.sha256(canonical.encode(said["endpoint"])).hexdigest()
    assert json.loads(encode(said, SIGNER))["endpoint"] == f"sha256:{digest}"


def test_members_give_way_in_their_order_and_no_more_than_needed() -> None:
    long = dict.fromkeys(GIVES_WAY, "x" * 4000)
    entry = json.loads(encode({"kind": "decision"} | long, SIGNER))
    assert [name for name in GIVES_WAY if entry[name].startswith("sha256:")] == [
        "context",
        "evidence",
        "rationale",
    ]


@pytest.mark.parametrize("value", [2**53, -(2**53), "\ud800", object(), {1: "a"}])
def test_what_the_profile_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        encode({"kind": "decision", "tool": value}, SIGNER)
