"""JSON as Go reads it: beside the cases of tests/compat, whatever the bytes."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.protocols.golang.json_text import MAX_DEPTH, parse
from authz.protocols.golang.text import NotReadable

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def written(body: bytes) -> str:
    return orjson.dumps(parse(body)).decode()


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_that_can_be_written_or_not_readable(body: bytes) -> None:
    try:
        value = parse(body)
    except NotReadable:
        return
    json.loads(orjson.dumps(value))


@given(VALUES)
def test_a_value_is_what_everybody_reads(value: object) -> None:
    assert json.loads(written(json.dumps(value).encode())) == value


@given(VALUES, st.integers(101, 300))
def test_a_deep_value_is_passed_on_as_its_text(value: object, depth: int) -> None:
    body = b"[" * depth + json.dumps(value).encode() + b"]" * depth
    assert written(b" " + body) == body.decode()


@pytest.mark.parametrize("text", ["1.0", "1e2", "-0", "0.1000", "1" * 40, "1E+2"])
def test_a_number_keeps_its_text(text: str) -> None:
    assert written(f'{{"a":{text}}}'.encode()) == f'{{"a":{text}}}'


def test_it_is_as_deep_as_go_permits_and_no_deeper() -> None:
    assert written(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH).startswith("[[")
    with pytest.raises(NotReadable):
        parse(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


def test_what_is_wrong_quotes_nothing() -> None:
    with pytest.raises(NotReadable) as caught:
        parse(b'{"secret": x}')
    assert "secret" not in str(caught.value)
