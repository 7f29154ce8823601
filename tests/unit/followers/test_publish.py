"""Published logs over real HTTP: status, headers and bytes; reading only; nothing by way of a path."""

from __future__ import annotations

import gzip
import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz.followers import publish
from authz.followers.published import Published
from authz.http_server import HttpServer
from tests import ledgers

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"


@pytest.fixture
def epoch(tmp_path: Path) -> Path:
    return ledgers.write(tmp_path, 600)


@pytest.fixture
def port(epoch: Path, tmp_path: Path) -> Iterator[int]:
    application = publish.application(Published(tmp_path, ledgers.TRUST))
    server = HttpServer("address", "127.0.0.1:0", application, connections=8)
    yield server.port
    server.close()


class Answer:
    """`path` goes out as it stands: no client has tidied it up."""

    def __init__(self, port: int, path: str, method: str = "GET", **headers: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            answer = connection.getresponse()
            self.status, self.headers, self.body = answer.status, answer.headers, answer.read()
        finally:
            connection.close()


def test_the_checkpoint_is_text_that_no_cache_keeps(port: int, epoch: Path) -> None:
    answer = Answer(port, f"/{LOG}/checkpoint")
    assert (answer.status, answer.body) == (200, (epoch / "checkpoint").read_bytes())
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", ["tile/0/000", "tile/1/000.p/2", "tile/entries/002.p/88"])
def test_what_never_changes_may_be_kept_for_long(port: int, name: str) -> None:
    answer = Answer(port, f"/{LOG}/{name}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert int(answer.headers["Content-Length"]) == len(answer.body)


def test_the_names_of_the_logs_are_the_first_page(port: int) -> None:
    answer = Answer(port, "/")
    assert (answer.status, answer.body.decode()) == (200, f"{LOG}\n")
    assert answer.headers["Cache-Control"] == "no-cache"


def test_head_says_what_get_would_without_the_body(port: int) -> None:
    answer = Answer(port, f"/{LOG}/tile/0/000", "HEAD")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "8192", b"")


def test_entries_are_packed_for_those_who_ask_for_it(port: int) -> None:
    plain = Answer(port, f"/{LOG}/tile/entries/000")
    packed = Answer(port, f"/{LOG}/tile/entries/000", Accept_Encoding="gzip, deflate")
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) // 2


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_it_is_for_reading_only(port: int, method: str) -> None:
    answer = Answer(port, f"/{LOG}/checkpoint", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    [
        f"/{LOG}/../{ledgers.EPOCH}/checkpoint",
        f"/{LOG}/..%2f..%2f..%2f..%2fetc/passwd",
        f"/{LOG}/%2e%2e/%2e%2e/checkpoint",
        "/../../../../../../etc/passwd",
        "//etc/passwd",
        f"/{LOG}/tile/0/..%2f..%2fentries%2f00000000.jsonl",
        f"/{LOG}/entries/00000000.jsonl",
        f"/{LOG}/checkpoint%00",
        f"/{LOG}/checkpoint%0a",
        f"/{LOG}/tile/0/%30%30%33",
        "/%ff%fe",
        "/%E2%80%94/a/b/checkpoint",
        "*",
        f"/{LOG}/" + "x" * 8000,
    ],
)
def test_no_path_leads_anywhere_else(port: int, path: str) -> None:
    answer = Answer(port, path)
    assert (answer.status, answer.body) == (404, b"nothing of this name is published\n")
    assert answer.headers["Cache-Control"] == "no-cache"


def test_a_request_line_without_end_is_refused(port: int) -> None:
    assert Answer(port, "/" + "x" * 70_000).status == 414


def test_what_is_not_what_was_signed_is_an_error_and_says_no_more(port: int, epoch: Path) -> None:
    ledgers.edit(epoch, lambda entries: entries.__setitem__(5, entries[5].replace(b"allow", b"deny!")))
    answer = Answer(port, f"/{LOG}/tile/0/000")
    assert (answer.status, answer.body) == (500, b"stored entries are not what was signed\n")
    assert answer.headers["Cache-Control"] == "no-cache"


def test_a_ledger_that_cannot_be_read_is_said(
    port: int, epoch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied", "checkpoint")

    monkeypatch.setattr("authz.ledger.files.checkpoint", cannot)
    answer = Answer(port, f"/{LOG}/tile/0/000")
    assert (answer.status, answer.body) == (503, b"the ledger cannot be read\n")
