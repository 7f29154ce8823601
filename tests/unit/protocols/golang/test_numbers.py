"""Numbers as Go writes them."""

from __future__ import annotations

import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.protocols.golang.numbers import literal, of_message, of_struct

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def text(value: object) -> str:
    return orjson.dumps(value).decode()


@pytest.mark.parametrize(
    ("value", "struct", "message"),
    [
        (1893456000.0, "1.893456e+09", "1893456000"),
        (1e5, "100000", "100000"),
        (1e6, "1e+06", "1000000"),
        (1e21, "1e+21", "1e+21"),
        (1e-4, "0.0001", "0.0001"),
        (1e-5, "1e-05", "0.00001"),
        (1e-7, "1e-07", "1e-7"),
        (-0.0, "-0", "-0"),
        (123456789.25, "1.2345678925e+08", "123456789.25"),
    ],
)
def test_a_double_is_written_as_go_writes_it(value: float, struct: str, message: str) -> None:
    assert (text(of_struct(value)), text(of_message(value))) == (struct, message)


@given(FINITE)
def test_a_double_is_still_the_same_number(value: float) -> None:
    assert float(text(of_struct(value))) == float(text(of_message(value))) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_a_string(value: float) -> None:
    assert of_struct(value) == of_message(value) in ("NaN", "Infinity", "-Infinity")


@given(st.integers())
def test_an_integers_text_is_kept(value: int) -> None:
    assert text(literal(str(value))) == str(value)
