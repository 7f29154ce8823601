"""Following the bundles' server: whatever it answers, the version before stays, and it is said why."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from authz.policy.activation import Failure
from authz.policy.making import ALGORITHM, KEY_ID
from authz.policy.signing import public_key
from authz.policy.wasm.source import BundleSource, Files, Told
from tests.attack.test_policy_bundle_tampering import repack
from tests.policy.opa import DENY, signing_key, version_of

AWAY = "http://127.0.0.1:9/aegis.tar.gz"


class Server:
    """Serves `bundle`, by its ETag; nobody where there is none. `url` of it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/aegis.tar.gz"
        self.bundle, self.status = b"", 200

    def answer(self, known: str) -> tuple[int, str, bytes]:
        etag = f'"{hash(self.bundle)}"'
        if self.status != 200:
            return self.status, "", b""
        return (304, etag, b"") if known == etag else (200, etag, self.bundle)


@contextmanager
def served(bundle: bytes) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, etag, body = server.answer(self.headers.get("If-None-Match", ""))
            self.send_response(status)
            self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        server = Server(listening.server_port)
        server.bundle = bundle
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()


class Taker:
    """Takes every bundle but those for which there is a `fault`; counts them."""

    def __init__(self) -> None:
        self.taken = 0
        self.fault: Exception | None = None

    def __call__(self, files: Files) -> None:
        if self.fault:
            raise self.fault
        self.taken += 1


def source(url: str, directory: Path, take: Callable[[Files], None]) -> BundleSource:
    told = Told(url, KEY_ID, ALGORITHM, public_key(signing_key()), wait_s=1)
    return BundleSource(told, directory / "kept.tar.gz", take)


def code(following: BundleSource) -> str:
    return following.failure.code if following.failure else ""


@pytest.fixture
def good(tmp_path: Path) -> bytes:
    return version_of(tmp_path, DENY).file.read_bytes()


@pytest.fixture
def bad(tmp_path: Path) -> bytes:
    """Its signatures nest without end."""
    file = version_of(tmp_path, DENY, "v2").file
    repack(file, lambda name, data: b"[" * 100_000 if name.endswith(".signatures.json") else data)
    return file.read_bytes()


def test_a_bundle_that_nothing_can_be_made_of_leaves_the_old_one_and_the_next_is_taken(
    tmp_path: Path, good: bytes, bad: bytes
) -> None:
    take = Taker()
    with served(good) as server:
        following = source(server.url, tmp_path, take)
        following.first()
        server.bundle = bad
        following.first()
        assert (code(following), take.taken) == ("bad_signature", 1)
        server.bundle = good
        following.first()
    assert (code(following), take.taken) == ("", 2)


def test_a_fault_of_ours_leaves_the_old_one_and_is_loud(tmp_path: Path, good: bytes, bad: bytes) -> None:
    take = Taker()
    with served(bad) as server, capture_logs() as logs:
        following = source(server.url, tmp_path, take)
        following.first()
        take.fault = RuntimeError("ours")
        server.bundle = good
        following.first()
    assert following.failure == Failure("not_activated", "a fault of ours: RuntimeError")
    assert [log["log_level"] for log in logs if log["event"] == "policy_bundle_fault"] == ["error"]


def test_a_server_that_comes_back_with_what_is_in_force_ends_the_failure(tmp_path: Path, good: bytes) -> None:
    take = Taker()
    with served(good) as server:
        following = source(server.url, tmp_path, take)
        seen = []
        for status in (200, 503, 200):
            server.status = status
            following.first()
            seen.append(code(following))
    assert (seen, take.taken) == (["", "not_downloaded", ""], 1)


def test_a_refusal_is_said_again_when_the_server_comes_back_with_the_same(
    tmp_path: Path, good: bytes, bad: bytes
) -> None:
    with served(bad) as server:
        following = source(server.url, tmp_path, Taker())
        seen = []
        for status, bundle in ((200, good), (200, bad), (503, bad), (200, bad), (200, good)):
            server.status, server.bundle = status, bundle
            following.first()
            seen.append(code(following))
    assert seen == ["", "bad_signature", "not_downloaded", "bad_signature", ""]


def test_a_start_while_a_bad_bundle_is_offered_takes_what_was_kept(
    tmp_path: Path, good: bytes, bad: bytes
) -> None:
    take = Taker()
    (tmp_path / "kept.tar.gz").write_bytes(good)
    with served(bad) as server:
        following = source(server.url, tmp_path, take)
        following.first()
    assert (code(following), take.taken) == ("bad_signature", 1)
    assert (tmp_path / "kept.tar.gz").read_bytes() == good


def test_a_start_with_a_bad_bundle_kept_says_of_the_server_what_it_would(tmp_path: Path, bad: bytes) -> None:
    (tmp_path / "kept.tar.gz").write_bytes(bad)
    take = Taker()
    following = source(AWAY, tmp_path, take)
    with capture_logs() as logs:
        following.first()
    assert (code(following), take.taken) == ("not_downloaded", 0)
    assert ("policy_kept_not_taken", "bad_signature") in [(log["event"], log["code"]) for log in logs]
