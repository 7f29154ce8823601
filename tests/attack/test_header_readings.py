"""Headers that two readers would read differently, or that flood whoever reads them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.errors import Denied
from authz.protocols.headers import OVERRIDES, SINGLE, headers
from authz.values import Reason


def read(*pairs: tuple[str, str], count: int = 100, size: int = 32768) -> dict[str, str]:
    return headers([name for name, _ in pairs], [value for _, value in pairs], count, size)


def detail(*pairs: tuple[str, str]) -> str:
    with pytest.raises(Denied) as caught:
        read(*pairs)
    assert caught.value.reason == Reason.MALFORMED_HEADERS
    return caught.value.detail


def judged(pairs: list[tuple[str, str]]) -> dict[str, str] | Reason:
    try:
        return read(*pairs)
    except Denied as denied:
        return denied.reason


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_a_header_that_is_acted_upon_stands_twice(name: str) -> None:
    assert "twice" in detail((name, "1"), ("accept", "x"), (name, "1"))
    assert "twice" in detail((name, "1"), (name.upper(), "2"))


@pytest.mark.parametrize("name", sorted(OVERRIDES))
def test_a_header_that_some_upstreams_take_for_the_method_or_path(name: str) -> None:
    assert "request line" in detail(("accept", "x"), (name, "DELETE"))
    assert "request line" in detail((name.upper(), "/admin"))
    assert "underscore" in detail((name.replace("-", "_"), "DELETE"))


@pytest.mark.parametrize("name", ["x-aegis-agent-token", "x-aegis-anything", "X-Aegis-Decision-Id"])
def test_a_header_of_ours_stands_twice_and_its_name_is_not_quoted_unless_ours(name: str) -> None:
    assert "twice" in detail((name, "1"), (name, "2"))
    assert "anything" not in detail((name, "1"), (name, "2"))


@pytest.mark.parametrize(
    "name",
    [
        "x_aegis_agent_token",
        "x-aegis_agent-token",
        "X_AEGIS_AGENT_TOKEN",
        "x_aegis-new",
        "content_type",
        "Content_Length",
        "transfer_encoding",
        "proxy_authorization",
        "x_request_id",
    ],
)
def test_an_underscore_makes_a_header_of_ours_for_cgi(name: str) -> None:
    assert "underscore" in detail((name, "1"))


def test_an_underscore_makes_two_headers_one_for_cgi() -> None:
    assert "underscore" in detail(("x-role", "clerk"), ("x_role", "admin"))
    assert "underscore" in detail(("x_a-b", "1"), ("x-a_b", "2"))
    assert "underscore" in detail(("X_Role", "1"), ("x-role", "2"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a b",
        "a\tb",
        "a\nb",
        "a\n:path",
        "a\r\nx-aegis-agent-token",
        "a\x00",
        "a:b",
        "a:",
        ":",
        "::path",
        "é",
        "\u212a",
        "x-aegis-to\u212aen",
        "a\u0130",
        "a(b)",
        "a,b",
        'a"b',
        "a/b",
        "a[0]",
        "a{b}",
        "a@b",
        "a\\b",
        "a=b",
        "a;b",
        "a?b",
        "a\x7f",
        "\ud800",
    ],
)
@pytest.mark.parametrize("beside", [(), (("accept", "x"),), (("Accept", "x"), ("b", "y"))])
def test_what_is_no_header_name(name: str, beside: tuple[tuple[str, str], ...]) -> None:
    assert "not a header name" in detail(*beside, (name, "1"))
    assert "not a header name" in detail((name, "1"), *beside)


@pytest.mark.parametrize("code", [*range(9), *range(10, 32), 127])
def test_a_control_byte_in_a_value(code: int) -> None:
    for value in (chr(code), f"a{chr(code)}b", f"é{chr(code)}"):
        assert "control" in detail(("accept", "a"), ("x", value), ("y", "b"))


def test_a_flood_of_headers() -> None:
    many = tuple((f"h{number}", "v") for number in range(20_000))
    assert "too many" in detail(*many)
    assert "too large" in detail(("h", "v" * 40_000))
    assert "too large" in detail(("h" * 40_000, "v"))
    assert "too large" in detail(*((f"h{number}", "v" * 400) for number in range(100)))


def test_the_same_name_a_hundred_times_is_folded_within_the_bound() -> None:
    assert len(read(*(("accept", "v"),) * 100)["accept"]) == 199


TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
NAMES = st.one_of(
    st.text(max_size=8),
    st.text("aA-_:\n ", max_size=6),
    st.sampled_from(["host", "Host", "x-aegis-a", "x_aegis_a", "accept", "content_length", ":path"]),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(NAMES, st.text(max_size=6)), max_size=6))
def test_what_is_accepted_has_one_meaning(pairs: list[tuple[str, str]]) -> None:
    """Every name is a token, each stands once, none looks like another to CGI, nothing was lost."""
    found = judged(pairs)
    if isinstance(found, Reason):
        assert found is Reason.MALFORMED_HEADERS
        return
    assert set(found) == {name.lower() for name, _ in pairs}
    assert all(name.removeprefix(":") and set(name.removeprefix(":")) <= set(TOKEN) for name in found)
    assert len({name.replace("_", "-") for name in found}) == len(found)
    for name, value in found.items():
        assert value == ",".join(text for other, text in pairs if other.lower() == name)
