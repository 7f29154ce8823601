"""The request line and the authority: what is normal already, what is made normal, what is refused."""

from collections.abc import Callable
from typing import Any

import pytest

from authz.errors import Denied
from authz.protocols.http import authority, check_method, check_query, check_server_name, path
from authz.values import Reason


def reason(function: Callable[..., Any], *arguments: Any, **named: Any) -> Reason:
    with pytest.raises(Denied) as caught:
        function(*arguments, **named)
    return caught.value.reason


@pytest.mark.parametrize("method", ["GET", "POST", "CONNECT", "PROPFIND", "M-SEARCH", "VERSION_CONTROL"])
def test_methods_are_upper_case_words(method: str) -> None:
    check_method(method)


@pytest.mark.parametrize(
    "method", ["", "get", "Get", "GET ", " GET", "GET\n", "G\x00T", "GÉT", "-GET", "A" * 33]
)
def test_other_methods_are_malformed(method: str) -> None:
    assert reason(check_method, method) == Reason.MALFORMED_REQUEST


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("api.example", "api.example", 443),
        ("API.Example", "api.example", 443),
        ("api.example.", "api.example", 443),
        ("api.example:443", "api.example", 443),
        ("api.example.:8443", "api.example", 8443),
        ("localhost", "localhost", 443),
        ("_dmarc.under_score.example", "_dmarc.under_score.example", 443),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", 443),
        ("1.2.3.4", "1.2.3.4", 443),
        ("1.2.3.4.", "1.2.3.4", 443),
        ("1.2.3.4.example", "1.2.3.4.example", 443),
        ("[2001:DB8:0:0::1]", "[2001:db8::1]", 443),
        ("[2001:0db8::0001]:65535", "[2001:db8::1]", 65535),
        ("[::1]", "[::1]", 443),
        ("[::]", "[::]", 443),
        (f"{'a' * 63}.example", f"{'a' * 63}.example", 443),
        (".".join(["a" * 49] * 5) + ".:1", ".".join(["a" * 49] * 5), 1),
    ],
)
def test_authorities_have_one_form(text: str, host: str, port: int) -> None:
    assert authority(text, "https") == (host, port)


def test_the_port_follows_from_the_scheme_where_none_is_named() -> None:
    assert authority("a.example", "http") == ("a.example", 80)
    assert authority("a.example:443", "http") == ("a.example", 443)
    for scheme in ("", "ftp", "HTTPS"):
        assert reason(authority, "a.example", scheme) == Reason.MALFORMED_HOST
        assert authority("a.example:21", scheme) == ("a.example", 21)


def test_a_connect_names_its_port() -> None:
    assert authority("a.example:443", "https", connect=True) == ("a.example", 443)
    assert reason(authority, "a.example", "https", connect=True) == Reason.MALFORMED_HOST


def test_the_name_of_the_tls_session_is_the_hosts() -> None:
    check_server_name("API.example.", "api.example")
    for sni in ("other.example", "api.example.evil", "", "1.2.3.4"):
        assert reason(check_server_name, sni, "api.example") == Reason.MALFORMED_HOST


@pytest.mark.parametrize(
    "text",
    [
        "/",
        "/v1/patients/7",
        "/v1/",
        "/a.b/c..d/e...f",
        "/.well-known/x",
        "/...",
        "/a:b@c,d=e+f~g!h$i&j'k(l)m*n",
        "/a;v=1/b;c",
        "/a%20b",
        "/%C3%A9t%C3%A9",
        "/100%25",
        "/a%3Fb%23c",
        "/{id}",
    ],
)
def test_normal_paths_stay_as_they_are(text: str) -> None:
    assert path(text, "GET") == text


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("/%61%62", "/ab"),
        ("/%7euser/%2d", "/~user/-"),
        ("/a%2eb", "/a.b"),
        ("/%c3%a9", "/%C3%A9"),
        ("/a%3ab", "/a%3Ab"),
    ],
)
def test_needless_escapes_are_undone_and_the_others_are_upper_case(text: str, normal: str) -> None:
    assert path(text, "GET") == normal
    assert path(normal, "GET") == normal


def test_the_paths_that_are_none_belong_to_their_methods() -> None:
    assert path("*", "OPTIONS") == "*"
    assert path("", "CONNECT") == ""
    for text, method in (("*", "GET"), ("", "GET"), ("", "OPTIONS"), ("*", "CONNECT")):
        assert reason(path, text, method) == Reason.MALFORMED_PATH


@pytest.mark.parametrize(
    "query",
    [
        "",
        "a=1&b",
        "a=%20+b",
        "q=100%25",
        "u=https://x/y?z",
        "a;b",
        "f[0]=1",
        "\\",
        "%0d%0a",
        "%C3%A9",
        "%2525",
        "=&=",
        "?",
    ],
)
def test_queries_of_visible_ascii_and_whole_escapes(query: str) -> None:
    check_query(query)


@pytest.mark.parametrize(
    "query",
    ["100%", "%zz", "%u00e9", "a b", "a\tb", "é", "\x7f", "#a", "%00", "%ff", "%c0%ae", "%ed%a0%80", "\n"],
)
def test_other_queries_are_malformed(query: str) -> None:
    assert reason(check_query, query) == Reason.MALFORMED_QUERY
