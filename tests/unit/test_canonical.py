"""The canonical form: what we encode is RFC 8785 by somebody else's encoder, and nothing else is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from authz import canonical

NAMES = st.text(st.characters(max_codepoint=127), max_size=12)
LEAVES = st.one_of(
    st.booleans(),
    st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=6)


@given(OBJECTS)
@example({"": '\u2028\x7f\x1f\b\f"\\/', "Z": [], "a": {}, "\x00": 2**53 - 1, "~": -(2**53) + 1})
def test_on_the_profile_our_encoding_is_rfc_8785_and_is_read_back(value: dict[str, Any]) -> None:
    encoded = canonical.encode(value)
    assert encoded == rfc8785.dumps(value)
    assert canonical.parse(encoded) == value


def _inside(value: Any) -> bool:
    """The profile of EVIDENCE section 1, from the page."""
    if isinstance(value, dict):
        return all(name.isascii() and _inside(item) for name, item in value.items())
    if isinstance(value, list):
        return all(map(_inside, value))
    if isinstance(value, (bool, str)):
        return True
    return isinstance(value, int) and abs(value) < 2**53


def _is_canonical(data: bytes) -> bool:
    """Whether `data` is what the standard library and the rfc8785 package agree to be the one form."""
    try:
        value = json.loads(data.decode())
        return isinstance(value, dict) and _inside(value) and rfc8785.dumps(value) == data
    except (ValueError, RecursionError, rfc8785.CanonicalizationError):
        return False


def _reads(data: bytes) -> bool:
    try:
        canonical.parse(data)
    except ValueError:
        return False
    return True


@given(OBJECTS, st.data())
def test_a_changed_encoding_is_read_only_if_it_is_canonical_again(
    value: dict[str, Any], data: st.DataObject
) -> None:
    encoded = bytearray(canonical.encode(value))
    where = data.draw(st.integers(0, len(encoded) - 1))
    changed = data.draw(st.binary(max_size=3))
    encoded[where : where + data.draw(st.integers(0, 2))] = changed
    assert _reads(bytes(encoded)) == _is_canonical(bytes(encoded))


@given(
    st.recursive(
        st.one_of(LEAVES, st.none(), st.floats(), st.integers()),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner)),
        max_leaves=8,
    ),
    st.booleans(),
)
def test_json_outside_of_the_profile_is_not_read(value: Any, compact: bool) -> None:
    separators = (",", ":") if compact else None
    data = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=separators)
    raw = data.encode(errors="surrogatepass")
    assert _reads(raw) == _is_canonical(raw)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{}\n",
        b" {}",
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":1,"a":1}',
        b'{"b":1,"a":1}',
        b'{"a": 1}',
        b'{"a":null}',
        b'{"a":[null]}',
        b'{"a":1.0}',
        b'{"a":{"b":[0.5]}}',
        b'{"a":1e2}',
        b'{"a":-0}',
        b'{"a":9007199254740992}',
        b'{"a":[-9007199254740992]}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":1E400}',
        b'{"a":NaN}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":"\\u001F"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        '{"ä":1}'.encode(),
        '{"a":{"ä":1}}'.encode(),
        '{"a":[{"ä":1}]}'.encode(),
        b'{"a":' + b"[" * 8000 + b"]" * 8000 + b"}",
        b'{"a":"\x00"}',
    ],
)
def test_not_read(data: bytes) -> None:
    with pytest.raises(ValueError):
        canonical.parse(data)


@pytest.mark.parametrize("value", [{"a": 2**53}, {"a": -(2**53)}, {"a": "\ud800"}, {1: 2}, {"a": object()}])
def test_what_json_or_the_profile_s_integers_cannot_hold_is_not_encoded(value: Any) -> None:
    with pytest.raises(ValueError):
        canonical.encode(value)
