"""A path, a host or a query that policy would read one way and the upstream another."""

import ipaddress
import posixpath
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from authz.errors import Denied
from authz.protocols.http import authority, check_query, path
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
    "text",
    [
        # encoded slashes and backslashes
        "/a%2fb",
        "/a%2Fb",
        "/%2f%2Fadmin",
        "/a%5cb",
        "/a%5C..%5Cb",
        "/a\\b",
        "\\a",
        # dot segments
        "/.",
        "/..",
        "/./a",
        "/a/../b",
        "/a/..",
        "/a/%2e%2E/b",
        "/a/.%2e/b",
        "/a/%2e/b",
        "/..;/b",
        "/a/..;x=1/b",
        "/a/.;/b",
        "/a/..%3B/b",
        "/a/%2e%2e%3bx/b",
        # escaped twice
        "/a%252fb",
        "/a%252e%252e/b",
        "/a%25%32%66b",
        "/%25%35%63",
        "/%2525",
        "/a%25%361",
        # broken escapes, control bytes
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%%41",
        "/a%u002f",
        "/a%-1",
        "/%00",
        "/a%00.html",
        "/a%0a",
        "/a%0D%0Ab",
        "/a%1f",
        "/a%7f",
        "/a\x00b",
        "/a\nb",
        "/a\tb",
        "/a b",
        "/a\x7f",
        "/a\n",
        # not ASCII, escapes that are not UTF-8, overlong forms
        "/é",
        "/\u2044",
        "/．．/",
        "/%ff",
        "/%c0%af",
        "/%c0%ae%c0%ae/",
        "/%e0%80%af",
        "/%ed%a0%80",
        "/%f4%90%80%80",
        "/a%C3",
        "/a%C3/%A9",
        # empty segments
        "//",
        "//a",
        "/a//b",
        "/a//",
        "//evil.example/a",
        # other forms
        "http://evil.example/a",
        "https:/a",
        "a/b",
        "?a",
        "",
        "*",
        "/a#b",
        "#",
        "/a\u202eb",
        "\ufeff/a",
    ],
)
def test_a_path_with_two_readings(text: str) -> None:
    assert reason(path, text, "GET") == Reason.MALFORMED_PATH


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "CONNECT", "POST"])
def test_a_path_is_judged_alike_for_every_method(method: str) -> None:
    for text in ("/a/../b", "//a", "/a%2fb", "http://evil.example/"):
        assert reason(path, text, method) == Reason.MALFORMED_PATH


def test_a_long_path_of_escapes_is_no_work_to_speak_of() -> None:
    assert path("/" + "%61" * 2700, "GET") == "/" + "a" * 2700
    assert reason(path, "/" + "a/" * 4000 + "..", "GET") == Reason.MALFORMED_PATH
    assert reason(path, "/" + "%41" * 2700 + "%", "GET") == Reason.MALFORMED_PATH


PIECES = (
    "/ / / . .. ; %2e %2E %2f %5C %25 %252e %3b %3B %00 %c3%a9 %C3 %41 %7e %20 "
    "a b1 ~ : \\ # é % %2 + ...".split()
)


def without_parameters(text: str) -> str:
    return "/".join(segment.partition(";")[0] for segment in text.split("/"))


READERS: dict[str, Callable[[str], str]] = {
    "decodes, then splits": lambda text: unquote(text, errors="strict"),
    "splits, then decodes": lambda text: "/".join(unquote(part) for part in text.split("/")),
    "resolves dot segments": lambda text: resolved(unquote(text)),
    "resolves dot segments, then decodes": lambda text: unquote(resolved(text)),
    "merges slashes": lambda text: unquote("/" + text.lstrip("/").replace("//", "/")),
    "takes backslashes for slashes": lambda text: unquote(text).replace("\\", "/"),
    "decodes until nothing changes": lambda text: unquote(unquote(unquote(text))),
    "reads it as a reference": lambda text: unquote(urlsplit(text.partition("?")[0]).path),
}


def resolved(text: str) -> str:
    """As posixpath does, with the trailing slash that it drops."""
    return posixpath.normpath(text) + ("/" if text.endswith("/") and text != "/" else "")


@settings(max_examples=800, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map(lambda pieces: "/" + "".join(pieces)))
@example("/a%25%34%31")
@example("/a;b/..;c")
def test_every_reader_sees_the_path_that_was_accepted(text: str) -> None:
    normal = judged(path, text, "GET")
    if isinstance(normal, Reason):
        return
    seen = {name: reader(normal) for name, reader in READERS.items()}
    assert set(seen.values()) == {unquote(text)}, seen
    bare = without_parameters(unquote(normal))
    assert not {".", ".."} & set(bare.split("/"))
    assert path(normal, "GET") == normal


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40), st.sampled_from(["GET", "CONNECT", "OPTIONS"]))
def test_any_text_is_a_path_or_a_denial(text: str, method: str) -> None:
    for candidate in (text, f"/{text}"):
        found = judged(path, candidate, method)
        assert found is Reason.MALFORMED_PATH or found.isascii()


@pytest.mark.parametrize(
    "text",
    [
        # one address, written otherwise
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0x7f.0.0.1",
        "127.0x0.0.1",
        "127.0.0.0x1",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.01",
        "127.1",
        "127.0.1",
        "1.2.3.4.5",
        "1.2.3.256",
        "1.2.3.4.0",
        "0",
        "0x",
        "a.0x7f",
        "api.127",
        "1e3.4",
        # IPv4 inside of IPv6
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "[::ffff:0:7f00:1]",
        "[::127.0.0.1]",
        "[::7f00:1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[2001:0:1::1]",
        # IPv6 otherwise
        "::1",
        "[::1",
        "::1]",
        "[]",
        "[::1%25eth0]",
        "[::1%eth0]",
        "[fe80::1%1]",
        "[1.2.3.4]",
        "[:::1]",
        "[12345::]",
        "[v1.a]",
        "[::1]a",
        "[::1]:",
        "[[::1]]",
        # not a name
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a.example..",
        "-a.example",
        "a-.example",
        "a" * 64 + ".example",
        ".".join(["a" * 63] * 4),
        "a.example/",
        "a.example?b",
        "a.example#b",
        "a.example\\b",
        "a.example ",
        " a.example",
        "a.exa mple",
        "a.example\t",
        "a.example\n",
        "a.example\x00",
        "a.example%00",
        "%61.example",
        "a,b.example",
        "a*.example",
        "*.example",
        # userinfo
        "user@a.example",
        "user:pw@a.example",
        "@a.example",
        "a.example@evil.example",
        "a.example:443@evil.example",
        # ports
        "a.example:",
        "a.example:0",
        "a.example:00",
        "a.example:0443",
        "a.example:65536",
        "a.example:99999",
        "a.example:123456",
        "a.example:-1",
        "a.example:+443",
        "a.example:443:443",
        "a.example:https",
        "a.example:４４３",
        "a.example:0x1bb",
        ":443",
        # not ASCII
        "bücher.example",
        "аpi.example",
        "ａpi.example",
        "a。example",
        "１２７.0.0.1",
        "a\u00adb.example",
        "a\u200b.example",
        "\u212a.example",
        "a.exampl\u017f",
    ],
)
def test_a_host_with_two_readings(text: str) -> None:
    assert reason(authority, text, "https") == Reason.MALFORMED_HOST


HOST_PIECES = [
    *"0 1 7 9 127 255 256 0x7f 0X1 017 . . . : :: [ ] ffff 1.2.3.4 a b- -c _ xn-- @ % :80 :0 ٣ ㎏".split(),
    "é",
]


@settings(max_examples=800, deadline=None)
@given(st.lists(st.sampled_from(HOST_PIECES), min_size=1, max_size=7).map("".join))
def test_every_resolver_sees_the_host_that_was_accepted(text: str) -> None:
    found = judged(authority, text, "https")
    if isinstance(found, Reason):
        return
    host, port = found
    assert 0 < port < 65536
    assert authority(host, "https") == (host, 443)
    if host.startswith("["):
        address = ipaddress.IPv6Address(host[1:-1])
        assert (f"[{address}]", address.ipv4_mapped, address.sixtofour, address.teredo) == (
            host,
            None,
            None,
            None,
        )
        return
    split = urlsplit(f"//{text}")
    assert (split.username, (split.hostname or "").removesuffix(".")) == (None, host)
    try:
        packed = socket.inet_aton(host)
    except OSError:
        return  # a name for every resolver
    assert socket.inet_ntoa(packed) == host


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_a_host_or_a_denial(text: str) -> None:
    found = judged(authority, text, "https")
    assert found is Reason.MALFORMED_HOST or len(found) == 2


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_query_or_a_denial(text: str) -> None:
    found = judged(check_query, text)
    assert found is Reason.MALFORMED_QUERY or (text.isascii() and text.isprintable() and "#" not in text)
