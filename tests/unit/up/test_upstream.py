"""The sample upstream says what it received, whatever form it came in."""

from __future__ import annotations

import hashlib

import httpx
import pytest

from authz.up.upstream import Upstream


@pytest.fixture
def upstream() -> object:
    with Upstream(0) as serving:
        yield serving


def test_it_answers_with_method_path_headers_and_the_bodys_digest(upstream: Upstream) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{upstream.port}", trust_env=False) as client:
        said = client.post("/charges?x=1", headers={"X-Mark": "here"}, content=b"abc").json()
    assert (said["method"], said["path"], said["headers"]["x-mark"]) == ("POST", "/charges?x=1", "here")
    assert (said["body_bytes"], said["body_sha256"]) == (3, hashlib.sha256(b"abc").hexdigest())
    assert list(upstream.seen) == [said]


def test_chunked_bodies_are_read_and_connections_kept(upstream: Upstream) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{upstream.port}", trust_env=False) as client:
        said = [client.post("/", content=iter([b"ab", b"", b"cde"])).json() for _ in range(3)]
        assert client.head("/").content == b""
    assert [each["body_bytes"] for each in said] == [5, 5, 5]


def test_closing_does_not_wait_for_open_connections() -> None:
    with Upstream(0) as serving, httpx.Client(trust_env=False) as client:
        client.get(f"http://127.0.0.1:{serving.port}/")
        serving.close()
        with pytest.raises(httpx.ConnectError):
            httpx.Client(trust_env=False).get(f"http://127.0.0.1:{serving.port}/")
