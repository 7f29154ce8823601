"""One request to one address: what was sent, what is read of the answer, and what is no answer."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import urlsplit

import pytest

from authz import http_client
from authz.http_client import Answer, Unanswered
from tests.outside import Headers, Server, serving


def ask(server: Server, path: str = "/a?b=c", **how: Any) -> Answer:
    given: dict[str, Any] = {"most": 100, "timeout_s": 20, "tls": None, "headers": {"Accept": "text/plain"}}
    return http_client.request(urlsplit(server.url + path), **given | how)


def always(status: int, body: bytes = b"", **headers: str) -> Any:
    given: Headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _asked: (status, given, body)


def test_a_get_and_a_post_arrive_as_they_were_meant() -> None:
    with serving(always(200, b"yes", ETag='"1"')) as server:
        answer = ask(server)
        assert (answer.status, answer.body, answer.headers["etag"]) == (200, b"yes", '"1"')
        ask(server, "", post=b"\x00data", headers={"Content-Type": "application/octet-stream"})
    get, post = server.asked
    assert (get.method, get.path, get.headers["accept"], get.headers["user-agent"]) == (
        "GET",
        "/a?b=c",
        "text/plain",
        "aegis",
    )
    assert (post.method, post.path, post.body) == ("POST", "/", b"\x00data")
    assert post.headers["content-type"] == "application/octet-stream"


def test_only_the_bodies_that_were_asked_for_are_read() -> None:
    with serving(always(409, b"7\n")) as server:
        assert ask(server).body == b""
        assert ask(server, read=(200, 409)).body == b"7\n"


def test_a_redirect_is_an_answer_and_not_followed() -> None:
    with serving(always(302, b"", Location="/elsewhere")) as server:
        assert ask(server).status == 302
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (always(200, b"x" * 101), "over 100 bytes"),
        (always(200, b"x", Content_Length="5"), "ends before its end"),
        (always(200, b"x", Content_Encoding="gzip"), "an encoding that was not asked for"),
    ],
)
def test_what_is_no_whole_answer_is_none(answer: Any, why: str) -> None:
    with serving(answer) as server, pytest.raises(Unanswered, match=rf"^http://127\.0\.0\.1:\d+/.*({why})"):
        ask(server, timeout_s=2)


def test_nobody_there_is_said_with_the_address() -> None:
    with serving(always(200)) as server:
        pass
    with pytest.raises(Unanswered, match="refused"):
        ask(server)


def test_an_answer_that_does_not_come_ends_the_asking() -> None:
    go_on = threading.Event()

    def wait(_asked: Any) -> tuple[int, Headers, bytes]:
        go_on.wait(20)
        return 200, {}, b""

    with serving(wait) as server:
        with pytest.raises(Unanswered):
            ask(server, timeout_s=0.2)
        go_on.set()
