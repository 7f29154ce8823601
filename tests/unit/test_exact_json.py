"""Exact JSON: what is accepted, what is refused, and that every reader sees the same in what is accepted."""

import json
import math
from decimal import Decimal
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from authz.exact_json import MAX_DEPTH, parse

EXACT = 2**53 - 1


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b"true",
        b'""',
        b" [1, 2.5, -0.0, 1e2, 1E+2, 1e-7] \r\n\t",
        b'{"a": {"a": {"a": []}}, "b": [{"a": 1}, {"a": 1}]}',
        b'{"a:b": "c:d", ":": "::"}',
        b'{"\\u003a": "\\u003A", "x\\u003ay": {"\\u003a": 1}}',
        b'{"\\ud83d\\ude00": "\\u0000"}',
        '{"é": "ü", "É": "🙂"}'.encode(),
        b"[9007199254740991, -9007199254740991]",
        b"[0.1, 0.10000000000000001, 1.7976931348623157e308, 5e-324, 1e22, 1e23, 1.50000000000000000]",
        b'["1234567890123456789012345", "1e999999", "NaN"]',
    ],
)
def test_what_every_reader_sees_alike_is_accepted(data: bytes) -> None:
    assert repr(parse(data, 64)) == repr(json.loads(data))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b'{"a": 1, "a": 1}', "twice"),
        (b'{"a": 1, "\\u0061": 2}', "twice"),
        (b'{"\\u0061": 1, "\\u0061": 2}', "twice"),
        (b'{"a": {"b": [{"c": 1, "d": 2, "c": 3}]}}', "twice"),
        (b'[{"a": "\\u003a", "a": 1}]', "twice"),
        (b'{"a": ":", "a": "\\u003a\\u003a"}', "twice"),
        (b'{"": 1, "": 2}', "twice"),
        (b"9007199254740992", "beyond"),
        (b"-9007199254740992", "beyond"),
        (b"18446744073709551615", "beyond"),
        (b"18446744073709551616", "beyond"),
        (b"-9223372036854775809", "beyond"),
        (b"[" + b"9" * 5000 + b"]", "beyond"),
        (b"9007199254740993.0", "double"),
        (b"9.007199254740993e15", "double"),
        (b"1.99999999999999999999", "double"),
        (b"100.000000000000001", "double"),
        (b"0.1000000000000000055511151231257827", "double"),
        (b"1e-400", "double"),
        (b"2e-324", "double"),
        (b"0e999999999", "double"),
        (b"1e309", "beyond doubles"),
        (b"-1e999999999999", "beyond doubles"),
        (b"[" * 65 + b"]" * 65, "deeply"),
    ],
)
def test_what_readers_see_differently_is_refused(data: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        parse(data, 64)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"{'a': 1}",
        b"{a: 1}",
        b"[1,]",
        b'{"a": 1,}',
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"0x10",
        b"1_0",
        b"1 2",
        b"{} {}",
        b"{}\x00",
        b"/**/1",
        b"1 // one",
        b'"a\nb"',
        b'"a\tb"',
        b'"\x00"',
        b'"\\x41"',
        b'"\\u00"',
        b'"\\ud800"',
        b'"\\ude00\\ud83d"',
        b'{"\\udfff": 1}',
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-16-le"),
        '{"a": 1}'.encode("utf-32"),
        b'"\xff"',
        b'"\xc0\xaf"',
        b'"\xed\xa0\x80"',
        b'"\xf4\x90\x80\x80"',
        b"\xa0{}",
        b"\x0b{}",
        b"\x0c{}",
        "\u2028{}".encode(),
        b"[" * 2000 + b"]" * 2000,
        b"[" * 65536,
        b'{"a":' * 10000,
        b'"' + b"\\" * 9999,
    ],
)
def test_what_only_some_readers_take_for_json_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not JSON"):
        parse(data, 64)


@pytest.mark.parametrize("depth", [0, 1, 7, 64, MAX_DEPTH])
def test_the_depth_is_exact(depth: int) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")):
        levels = 2 if b"{" in opening and b"[" in opening else 1
        for count in (depth // levels, depth // levels + 1):
            data = opening * count + b"1" + closing * count
            if count * levels <= depth:
                parse(data, depth)
            else:
                with pytest.raises(ValueError, match="deeply"):
                    parse(data, depth)


def test_no_error_quotes_the_data() -> None:
    for data in (
        b'{"secret": 1, "secret": 2}',
        b"[secret",
        b"[1234567890123456789]",
        b"[1.00000000000000000001]",
    ):
        with pytest.raises(ValueError, match=r"\w") as caught:
            parse(data, 64)
        assert "secret" not in str(caught.value)
        assert "000" not in str(caught.value)
        assert "123" not in str(caught.value)


# An oracle that takes its time: the rules of the module's head, one after another, with json alone.


def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in items]
    if len(set(names)) < len(names):
        raise ValueError("twice")
    return dict(items)


def whole(text: str) -> int:
    if abs(Decimal(text)) > EXACT:
        raise ValueError("beyond")
    return int(text)


def fraction(text: str) -> float:
    value = float(text)
    if math.isinf(value) or Decimal(text) not in (Decimal(repr(value)), Decimal(f"{value:.17g}")):
        raise ValueError("double")
    return value


def constant(text: str) -> None:
    raise ValueError(text)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def oracle(data: bytes, depth: int) -> Any:
    text = data.decode("utf-8")
    value = json.loads(
        text, object_pairs_hook=pairs, parse_int=whole, parse_float=fraction, parse_constant=constant
    )
    json.dumps(value, ensure_ascii=False).encode()  # lone surrogates have no UTF-8
    if depth_of(value) > depth:
        raise ValueError("deeply")
    return value


NAMES = st.sampled_from(["a", "b", ":", "a:", "\\u003a", "\\u0061", "\\u003aa", "", "\\\\u003a", '\\"', "é"])
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from([EXACT - 1, EXACT, EXACT + 1, -EXACT, -EXACT - 1, 2**63, 2**64, 2**64 - 1]).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
)
STRINGS = st.one_of(NAMES, st.sampled_from(["::", "\\ud800", "\\ud83d\\ude00", "{:", "1e400", "1" * 30]))
LEAVES = st.one_of(NUMBERS, STRINGS.map('"{}"'.format), st.sampled_from(["true", "null", "NaN", "{}", "[]"]))


def containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.lists(st.tuples(NAMES, inner).map(lambda member: '"{}":{}'.format(*member)), max_size=4)
    arrays = st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]")
    return st.one_of(members.map(lambda items: "{" + ", ".join(items) + "}"), arrays)


TEXTS = st.recursive(LEAVES, containers, max_leaves=12).map(str.encode)
MUTATED = st.builds(
    lambda data, at, byte: data[: at % (len(data) + 1)] + byte + data[at % (len(data) + 1) + 1 :],
    TEXTS,
    st.integers(0, 200),
    st.sampled_from([b":", b'"', b"\\", b"{", b",", b"\xff", b"\\u003a", b"", b"\x00", b"9"]),
)


def outcome(reader: Any, data: bytes, *rest: Any) -> str:
    try:
        return repr(reader(data, *rest))
    except (ValueError, RecursionError):
        return "refused"


@settings(max_examples=600, deadline=None)
@given(data=st.one_of(TEXTS, MUTATED), depth=st.sampled_from([2, 3, 64]))
@example(data=b'{"a":"\\u003a","a":":"}', depth=64)
@example(data=b'{"a":{":":1},"a":1}', depth=64)
def test_exactly_what_the_slow_oracle_accepts_is_accepted(data: bytes, depth: int) -> None:
    assert outcome(parse, data, depth) == outcome(oracle, data, depth)


def first_wins(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(items))


READERS: list[Any] = [
    json.loads,
    lambda data: json.loads(data, object_pairs_hook=first_wins),
    lambda data: json.loads(data, parse_int=float),
    lambda data: json.loads(data, parse_float=lambda text: float(str(Decimal(text)))),
    orjson.loads,
    msgspec.json.decode,
]


@settings(max_examples=400, deadline=None)
@given(data=st.one_of(TEXTS, MUTATED))
def test_readers_that_differ_on_everything_else_agree_on_what_is_accepted(data: bytes) -> None:
    try:
        value = parse(data, 64)
    except ValueError:
        return
    for reader in READERS:
        assert reader(data) == value


@settings(max_examples=500, deadline=None)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_value_error(data: bytes) -> None:
    outcome(parse, data, 64)


SIZE = 65536
BOMBS = {
    "names": b"{" + b",".join(b'"%d":1' % n for n in range(SIZE // 9)) + b"}",
    "escaped names": b"{" + b",".join(b'"\\u003a%d":1' % n for n in range(SIZE // 15)) + b"}",
    "colliding names": b"{" + b",".join(b'"%s":1' % (b"a" * (n % 7)) for n in range(SIZE // 9)) + b"}",
    "digits": b"1" * SIZE,
    "fraction": b"0." + b"1" * (SIZE - 2),
    "zeros": b"1." + b"0" * (SIZE - 2),
    "exponents": b"[" + b",".join([b"1e-310"] * (SIZE // 7)) + b"]",
    "objects": b"[" + b",".join([b"{}"] * (SIZE // 3)) + b"]",
    "wide and deep": b"[" + b",".join([b"[[[[[[[]]]]]]]"] * (SIZE // 15)) + b"]",
    "depth": b"[" * SIZE,
    "closed depth": b"[" * (SIZE // 2) + b"]" * (SIZE // 2),
    "escapes": b'"' + b"\\u003a" * (SIZE // 6) + b'"',
}


@pytest.mark.parametrize("name", BOMBS)
def test_the_worst_bodies_are_a_value_or_a_refusal(name: str) -> None:
    assert outcome(parse, BOMBS[name], 64) == outcome(oracle, BOMBS[name], 64)
