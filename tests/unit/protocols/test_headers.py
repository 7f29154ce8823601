"""Headers as one value per lower-case name."""

import pytest

from authz.errors import Denied
from authz.protocols.headers import headers
from authz.values import Reason


def read(*pairs: tuple[str, str], count: int = 100, size: int = 32768) -> dict[str, str]:
    return headers([name for name, _ in pairs], [value for _, value in pairs], count, size)


def detail(*pairs: tuple[str, str], count: int = 100, size: int = 32768) -> str:
    with pytest.raises(Denied) as caught:
        read(*pairs, count=count, size=size)
    assert caught.value.reason == Reason.MALFORMED_HEADERS
    return caught.value.detail


def test_names_are_lower_case_and_values_are_as_they_came() -> None:
    given = ((":authority", "A.example"), ("Content-Type", "Text/Plain"), ("x-b", "é\ttab"))
    assert read(*given) == {":authority": "A.example", "content-type": "Text/Plain", "x-b": "é\ttab"}


def test_no_headers_are_no_headers() -> None:
    assert read() == {}


def test_values_of_one_name_are_folded_in_order() -> None:
    assert read(("accept", "a"), ("x", "1"), ("Accept", "b"), ("accept", "c")) == {
        "accept": "a,b,c",
        "x": "1",
    }


def test_the_bounds_are_exact() -> None:
    pairs = tuple((f"n{number}", "v") for number in range(10))
    size = sum(len(name) + len(value) + 1 for name, value in pairs) - 1
    assert len(read(*pairs, count=10, size=size)) == 10
    assert "too many" in detail(*pairs, count=9)
    assert "too large" in detail(*pairs, size=size - 1)


def test_an_underscore_that_stands_for_nothing_of_ours_is_a_character() -> None:
    assert read(("x_custom", "1"), ("other", "2")) == {"x_custom": "1", "other": "2"}


def test_every_character_of_a_token_may_stand_in_a_name() -> None:
    name = "!#$%&'*+-.^_`|~09az"
    assert read((name, "1")) == {name: "1"}
