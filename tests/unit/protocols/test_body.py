"""Bodies as arguments: which types are read, and what forms say."""

import pytest

from authz.errors import Denied
from authz.protocols.body import (
    FOREIGN,
    FORM,
    JSON,
    MAX_FIELDS,
    OTHER,
    arguments,
    check_coding,
    media,
    parse_form,
    parse_json,
)
from authz.values import MISSING, Reason


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("application/json", JSON),
        ("APPLICATION/Json", JSON),
        ("application/json; charset=utf-8", JSON),
        ('application/json;charset="UTF-8"; v=1', JSON),
        ("application/json; charset=us-ascii", JSON),
        ("application/vnd.api+json", JSON),
        ("application/json-patch+json", JSON),
        ("application/x-www-form-urlencoded; charset=UTF8", FORM),
        ("", OTHER),
        ("text/plain", OTHER),
        ("text/plain; was=application/json", OTHER),
        ("application/jsonp", OTHER),
        ("application/json+xml", OTHER),
        ("multipart/form-data; boundary=x", OTHER),
        ("text/plain; charset=utf-16", FOREIGN),
        ("text/plain; charset=ibm037", FOREIGN),
        ("text/plain; charset=utf-8", OTHER),
    ],
)
def test_the_media_type_decides_how_a_body_is_read(content_type: str, kind: str) -> None:
    assert media(content_type) == kind


def test_only_what_is_json_or_a_form_is_read() -> None:
    assert arguments(b'{"a": [1]}', JSON, 8) == {"a": [1]}
    assert arguments(b"a=1", FORM, 8) == {"a": ["1"]}
    assert arguments(b"\xff{", OTHER, 8) is MISSING
    assert arguments(b"plain", FOREIGN, 8) is MISSING
    assert arguments(b"true", OTHER, 8) is MISSING


@pytest.mark.parametrize("body", [b'{"a": [1]}', b" \r\n\t[1]", b"[]"])
def test_json_under_another_type_is_what_it_is(body: bytes) -> None:
    assert arguments(body, OTHER, 8) == parse_json(body, 8)


@pytest.mark.parametrize(
    "body",
    [b"[INFO] started", b"{{ template }}", b'{"a":1}\n{"a":2}\n', b"{", b"[1,", b"{\x00\xff", b"[v]\nk=1"],
)
def test_what_only_begins_like_json_is_something_else(body: bytes) -> None:
    assert arguments(body, OTHER, 8) is MISSING


def test_what_is_wrong_with_json_is_told_without_quoting_it() -> None:
    with pytest.raises(Denied) as caught:
        parse_json(b'{"secret": 1, "secret": 2}', 8)
    assert caught.value.reason == Reason.MALFORMED_BODY
    assert caught.value.detail == "body: a member stands twice"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", {}),
        (b"&&", {}),
        (b"a", {"a": [""]}),
        (b"a=", {"a": [""]}),
        (b"=v", {"": ["v"]}),
        (b"a=1&b=2&a=3", {"a": ["1", "3"], "b": ["2"]}),
        (b"a=1%262&%61=b+c%2Bd", {"a": ["1&2", "b c+d"]}),
        (b"n%C3%A9=%F0%9F%99%82", {"né": ["🙂"]}),
        (b"a=b=c", {"a": ["b=c"]}),
        (b"f[0]=x&f%5B0%5D=y", {"f[0]": ["x", "y"]}),
    ],
)
def test_forms_are_lists_of_values(body: bytes, found: dict[str, list[str]]) -> None:
    assert parse_form(body) == found


def test_the_number_of_fields_is_bounded() -> None:
    assert len(parse_form(b"a=1&" * (MAX_FIELDS - 1) + b"a=1")["a"]) == MAX_FIELDS
    with pytest.raises(Denied, match="too many"):
        parse_form(b"a&" * MAX_FIELDS + b"a")


@pytest.mark.parametrize("coding", ["", "identity", " Identity "])
def test_a_body_that_is_not_encoded_may_be_read(coding: str) -> None:
    check_coding(coding)
