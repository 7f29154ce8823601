"""The store of what was ever signed in S3: what only a server can suffer, or do wrong."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from authz.config_anchors import S3Access
from authz.errors import ConfigError, EvidenceUnavailable
from authz.ledger.checkpoints_s3 import S3Checkpoints
from tests import stores
from tests.s3 import S3Server

LOG = "aegis.test/worker-0/20260101T000000Z-0000000000000000"
ROOT = b"\x01" * 32


@pytest.fixture
def access(s3_of_checkpoints: S3Server) -> S3Access:
    told = s3_of_checkpoints.settings(stores.BUCKET)
    return S3Access(endpoint=told.endpoint, credentials=told.credentials, timeout_s=20)


@pytest.fixture
def url() -> str:
    return f"s3://{stores.BUCKET}/t{uuid.uuid4().hex}/"


def key(url: str, log: str = LOG) -> str:
    return f"{url.partition(f'{stores.BUCKET}/')[2]}{log}"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"log":"other/log/x","root":"' + b"01" * 32 + b'","size":5}',
        b'{"log":"' + LOG.encode() + b'","root":"01","size":5}',
        b'{"log":"' + LOG.encode() + b'","root":"' + b"01" * 32 + b'","size":0}',
        b"x" * 5000,
    ],
)
def test_an_object_that_says_nothing_of_the_log_is_named_and_never_replaced(
    s3_of_checkpoints: S3Server, access: S3Access, url: str, tmp_path: Path, data: bytes
) -> None:
    s3_of_checkpoints.client.put_object(Bucket=stores.BUCKET, Key=key(url), Body=data)
    with closing(S3Checkpoints(url, access, tmp_path)) as store:
        for ask in (lambda: store.latest(LOG), lambda: store.advance(LOG, 6, ROOT, expected=0)):
            with pytest.raises(EvidenceUnavailable, match=f"s3://{stores.BUCKET}/{key(url)}: "):
                ask()
    stored = s3_of_checkpoints.client.get_object(Bucket=stores.BUCKET, Key=key(url))["Body"].read()
    assert stored == data


def test_a_bucket_that_is_not_there_is_named(access: S3Access, tmp_path: Path) -> None:
    with closing(S3Checkpoints("s3://nowhere/x", access, tmp_path)) as store:
        with pytest.raises(EvidenceUnavailable, match=r"s3://nowhere/.*: NoSuchBucket"):
            store.advance(LOG, 1, ROOT, expected=0)
        with pytest.raises(EvidenceUnavailable, match=r"s3://nowhere/.*: NoSuchBucket"):
            store.latest(LOG)


def test_credentials_that_are_wrong_or_open_are_named_without_their_value(
    access: S3Access, url: str, tmp_path: Path
) -> None:
    wrong = tmp_path / "credentials"
    wrong.write_text("[default]\naws_access_key_id=nobody\naws_secret_access_key=very-secret\n")
    wrong.chmod(0o600)
    told = access.model_copy(update={"credentials": wrong})
    # versitygw calls InvalidAccessKeyId by a name of its own.
    with (
        closing(S3Checkpoints(url, told, tmp_path)) as store,
        pytest.raises(EvidenceUnavailable, match="XAdminUserNotFound") as failed,
    ):
        store.latest(LOG)
    assert "very-secret" not in str(failed.value)
    wrong.chmod(0o644)
    with pytest.raises(ConfigError, match="credentials: others may read it"):
        S3Checkpoints(url, told, tmp_path)


class _Careless(BaseHTTPRequestHandler):
    """An S3 server that takes every PUT, whatever its condition; `server.heeds` names those that it heeds."""

    def do_GET(self) -> None:
        self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        server: Any = self.server
        refused = any(self.headers[name] for name in server.heeds)
        self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>") if refused else self._answer(200)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def careless(*heeds: str) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Careless) as server:
        server.heeds = heeds  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("heeds", [(), ("If-Match",), ("If-None-Match",)])
def test_a_server_that_ignores_conditions_is_not_used(
    access: S3Access, url: str, tmp_path: Path, heeds: tuple[str, ...]
) -> None:
    with careless(*heeds) as endpoint:
        told = access.model_copy(update={"endpoint": endpoint})
        ignores = f"the server ignores {'If-Match' if 'If-None-Match' in heeds else 'If-None-Match'} on PUT"
        with (
            closing(S3Checkpoints(url, told, tmp_path)) as store,
            pytest.raises(EvidenceUnavailable, match=ignores),
        ):
            store.advance(LOG, 1, ROOT, expected=0)


def test_the_object_that_tries_the_server_is_no_log(access: S3Access, url: str, tmp_path: Path) -> None:
    with closing(S3Checkpoints(url, access, tmp_path)) as store:
        assert store.advance(LOG, 1, ROOT, expected=0)
        assert store.logs("") == [LOG]
