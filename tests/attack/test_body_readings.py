"""A body that policy would read one way and the upstream another, or not at all."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.errors import Denied
from authz.protocols.body import (
    FOREIGN,
    FORM,
    JSON,
    OTHER,
    arguments,
    check_coding,
    media,
    parse_form,
    parse_json,
)
from authz.values import Reason


def reason(function: Callable[..., Any], *arguments: Any) -> Reason:
    with pytest.raises(Denied) as caught:
        function(*arguments)
    return caught.value.reason


def judged(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` returns, or the reason why it denies; nothing else may come out."""
    try:
        return function(*arguments)
    except Denied as denied:
        return denied.reason


@pytest.mark.parametrize(
    "body",
    [
        b'{"amount": 1, "amount": 1000000}',
        b'{"amount": 1, "\\u0061mount": 1000000}',
        b'{"to": {"host": "a", "path": "/", "host": "b"}}',
        b'[[{"x": [{"a": 1, "b": {}, "a": 1}]}]]',
        b'{"note": "\\u003a", "amount": 1, "amount": 2}',
        b'{"amount": "::", "amount": "\\u003A\\u003a\\u003a"}',
        b'{"a": {"b": 1}, "a": "\\u003a"}',
        '{"é": 1, "\\u00e9": 2}'.encode(),
        b'{"a\\/b": 1, "a/b": 2}',
        b'{"\\ud83d\\ude00": 1, "\xf0\x9f\x98\x80": 2}',
        b'{"a": 1, "a": 2}' + b" " * 60000,
    ],
)
def test_a_member_that_stands_twice(body: bytes) -> None:
    """Some readers take the first, others the last, some both."""
    assert reason(parse_json, body, 64) == Reason.MALFORMED_BODY


@pytest.mark.parametrize("names", [("a", "A"), ("a", "a "), ("é", "e\u0301"), ("a", "а"), ("a", "a\\u0000")])
def test_members_that_only_look_alike_are_two(names: tuple[str, str]) -> None:
    """No JSON reader makes one of them; policy sees both."""
    body = f'{{"{names[0]}": 1, "{names[1]}": 2}}'.encode()
    assert len(parse_json(body, 64)) == 2


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": 9007199254740993}',
        b'{"id": 9007199254740993.0}',
        b'{"id": 12345678901234567890123}',
        b'{"quantity": 1.99999999999999999999}',
        b'{"limit": 1e400}',
        b'{"limit": -1e-999}',
        b'{"limit": NaN}',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        '{"a": "é"}'.encode("latin-1"),
        b'{"a": "\\udc00"}',
        b'{"a": 1} {"a": 2}',
        b'{"a": 1}\n{"a": 2}\n',
        b'{"a": 1}\x00',
        b")]}'\n{}",
        b'{"a": "line\nbreak"}',
        b"{'a': 1}",
        b"",
        b" \n",
    ],
)
def test_json_with_two_readings(body: bytes) -> None:
    assert reason(parse_json, body, 64) == Reason.MALFORMED_BODY


def test_depth_bombs_end_at_the_bound() -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"), (b'[{"":', b"}]")):
        for levels in (65, 250, 1000, 5000, 13000):
            for body in (opening * levels, opening * levels + b"1" + closing * levels):
                assert reason(parse_json, body, 64) == Reason.MALFORMED_BODY


class Members(list[Any]):
    """The members of an object in order, some perhaps twice."""


SMALL = st.recursive(
    st.one_of(st.integers(-(2**54), 2**54), st.text('a:"\\é\u0000', max_size=4), st.none(), st.booleans()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(st.tuples(st.text("ab:", max_size=2), inner), max_size=4).map(Members),
    ),
    max_leaves=10,
)


def written(value: Any, escape: bool) -> str:
    """`value` as JSON; `escape` writes every character of a string as an escape."""
    if isinstance(value, Members):
        members = (f"{written(name, escape)}:{written(item, escape)}" for name, item in value)
        return f"{{{','.join(members)}}}"
    if isinstance(value, list):
        return f"[{','.join(written(item, escape) for item in value)}]"
    if isinstance(value, str) and escape:
        return f'"{"".join(chr(92) + f"u{ord(character):04x}" for character in value)}"'
    return json.dumps(value)


def twice(value: Any) -> bool:
    if isinstance(value, Members):
        return len({name for name, _ in value}) < len(value) or any(twice(item) for _, item in value)
    return isinstance(value, list) and any(map(twice, value))


def large(value: Any) -> bool:
    if isinstance(value, Members):
        return any(large(item) for _, item in value)
    if isinstance(value, list):
        return any(map(large, value))
    return isinstance(value, int) and abs(value) > 2**53 - 1


@settings(max_examples=600, deadline=None)
@given(value=SMALL, escape=st.booleans())
def test_no_duplicate_slips_through_and_nothing_else_is_taken_for_one(value: Any, escape: bool) -> None:
    """The short cut counts colons; whatever their places, it may err neither way."""
    body = written(value, escape).encode()
    if twice(value) or large(value):
        assert reason(parse_json, body, 64) == Reason.MALFORMED_BODY
    else:
        assert parse_json(body, 64) == json.loads(body)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-16",
        "application/json; charset=UTF-7",
        "application/json; charset=latin1",
        "application/json; charset",
        "application/json; charset=",
        "application/json ;v=1; Charset = utf-16",
        'application/json; charset="\\utf-16"',
        "application/json; charset*=utf-16''x",
        "application/json; charset*0=utf-; charset*1=16",
        "application/json; charset=utf-8; charset=utf-16",
        "application/x-www-form-urlencoded; charset=utf-32",
    ],
)
def test_a_charset_that_changes_the_text(content_type: str) -> None:
    assert reason(media, content_type) == Reason.MALFORMED_BODY


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json, text/plain",
        "text/plain, application/json",
        "application/json; v=1, text/plain",
        "text/plain; v=1,application/json",
        ",application/json",
    ],
)
def test_two_content_types_in_one(content_type: str) -> None:
    assert reason(media, content_type) == Reason.MALFORMED_HEADERS


@pytest.mark.parametrize(
    "content_type",
    ["Application/JSON", " application/json ", "application/json;", "APPLICATION/VND.API+JSON"],
)
def test_a_json_type_in_unusual_letters_is_read_all_the_same(content_type: str) -> None:
    assert media(content_type) == JSON


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "identity, gzip", "gzip, identity", "x", "\x00"])
def test_a_body_that_is_encoded_is_not_read_as_it_is(coding: str) -> None:
    assert reason(check_coding, coding) == Reason.MALFORMED_BODY


AMBIGUOUS = [
    b'{"amount": 1, "amount": 2}',
    b'{"amount": 9007199254740993}',
    b'{"amount": 1, "x": NaN}',
    b'{"amount": 1, "x": "\\ud800"}',
    b'{"amount": 1e999}',
    b'{"amount": 1, "x": ' + b"9" * 5000 + b"}",
    b'\xef\xbb\xbf{"amount": 1}',
    '{"amount": 1}'.encode("utf-16"),
    '{"amount": 1}'.encode("utf-16-le"),
    '{"amount": 1}'.encode("utf-32-be"),
    b"[" * 100 + b"]" * 100,
    b"[" * 30000 + b"]" * 30000,
]


@pytest.mark.parametrize("body", AMBIGUOUS)
def test_ambiguous_json_under_another_type(body: bytes) -> None:
    """A reader that does not look at the type, or that sniffs, takes it for JSON all the same."""
    assert reason(arguments, body, OTHER, 64) == Reason.MALFORMED_BODY


@pytest.mark.parametrize("body", [b'{"amount": 1}', b" [1]", b"{"])
def test_what_looks_like_json_under_a_charset_in_which_it_is_other_text(body: bytes) -> None:
    """`text/plain; charset=ibm037`: who goes by the type reads something else in the same bytes."""
    assert reason(arguments, body, FOREIGN, 64) == Reason.MALFORMED_BODY


@pytest.mark.parametrize("body", [b'{"amount": 1}', b" [1]", *AMBIGUOUS])
def test_json_under_the_type_of_a_form(body: bytes) -> None:
    """What `curl -d` sends: a form with one strange name to policy, JSON to many an upstream."""
    assert reason(arguments, body, FORM, 64) == Reason.MALFORMED_BODY


@pytest.mark.parametrize(
    "body",
    [
        b"a=1;b=2",
        b"a=100%",
        b"a=%zz",
        b"a=%u00e9",
        b"%=1",
        b"a=%ff",
        b"a=%c0%ae",
        b"a=%ed%a0%80",
        "a=é".encode(),
        b"a=\x00",
        b"a=1\nb=2",
        b"a=1\r\n",
        b"a=\xff",
    ],
)
def test_a_form_with_two_readings(body: bytes) -> None:
    assert reason(parse_form, body) == Reason.MALFORMED_BODY


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=40), st.text("a=&+%20;Cé3", max_size=30).map(str.encode)))
def test_a_form_that_is_accepted_says_what_pythons_own_reader_says(body: bytes) -> None:
    found = judged(parse_form, body)
    if isinstance(found, Reason):
        assert found is Reason.MALFORMED_BODY
        return
    pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    assert [(name, value) for name, values in found.items() for value in values] == sorted(
        pairs, key=lambda pair: list(found).index(pair[0])
    )


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=40), st.text('aplictonjsh/;,=+ urfe-8"', max_size=40)))
def test_any_content_type_is_a_kind_or_a_denial(content_type: str) -> None:
    assert judged(media, content_type) in (
        JSON,
        FORM,
        OTHER,
        FOREIGN,
        Reason.MALFORMED_BODY,
        Reason.MALFORMED_HEADERS,
    )
