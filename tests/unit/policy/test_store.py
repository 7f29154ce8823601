"""A store creates each name once, whole and durable, whatever happens: in a directory, and in a bucket."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from authz.config_publish import BundleS3
from authz.errors import ConfigError, StoreUnavailable
from authz.policy.store import DirectoryStore, Store
from authz.policy.store_s3 import S3Store
from authz.s3_bucket import PROBE
from tests import stores
from tests.attack.test_disk_full import largest_file
from tests.s3 import S3Server

NAME = "changelog/00000001.json"


def bucket(server: S3Server, prefix: str = "", **more: object) -> BundleS3:
    told = server.settings(stores.BUCKET)
    url = f"s3://{stores.BUCKET}/{prefix or uuid.uuid4().hex}"
    given = {"url": url, "endpoint": told.endpoint, "credentials": told.credentials, "timeout_s": 20}
    return BundleS3.model_validate(given | more)


@pytest.fixture(params=["directory", "s3"])
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Opens one and the same store, as each process does."""
    if request.param == "directory":
        return lambda: DirectoryStore(tmp_path / "bundles")
    told = bucket(request.getfixturevalue("s3_of_checkpoints"))
    return lambda: S3Store(told, tmp_path)


def test_a_name_is_created_once_and_then_stays(again: Callable[[], Store]) -> None:
    store = again()
    assert store.read(NAME) is None
    assert store.create(NAME, b"one")
    assert not store.create(NAME, b"two")
    assert not again().create(NAME, b"three")
    assert again().read(NAME) == b"one"


def test_names_are_those_of_one_folder_in_order(again: Callable[[], Store]) -> None:
    store = again()
    assert store.names("changelog") == []
    for name in ("changelog/00000002.json", NAME, "activations/00000001.json", "v1.tar.gz"):
        store.create(name, b"x")
    assert store.names("changelog") == [NAME, "changelog/00000002.json"]
    assert store.names("activations") == ["activations/00000001.json"]


def test_of_many_who_create_at_once_exactly_one_has_it(again: Callable[[], Store]) -> None:
    each = [again() for _ in range(8)]
    for number in range(5):
        name, start = f"changelog/{number}.json", threading.Barrier(len(each))

        def create(index: int, name: str = name, start: threading.Barrier = start) -> bool:
            start.wait()
            return each[index].create(name, f"{index}".encode() * 100_000)

        with ThreadPoolExecutor(len(each)) as pool:
            won = list(pool.map(create, range(len(each))))
        assert won.count(True) == 1
        assert each[0].read(name) == f"{won.index(True)}".encode() * 100_000


def test_a_disk_that_is_full_leaves_no_part_of_a_name(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "bundles")
    with largest_file(1000), pytest.raises(StoreUnavailable, match=f"{NAME}: {os.strerror(errno.EFBIG)}"):
        store.create(NAME, b"x" * 1001)
    assert store.read(NAME) is None
    assert os.listdir(tmp_path / "bundles/changelog") == []
    assert store.create(NAME, b"x" * 1001)


KILLED = """
import os, signal, sys
from pathlib import Path
from authz.policy import store
name, where, at = sys.argv[1:]
calls = [0]
def dying(call):
    def made(*given, **named):
        calls[0] += 1
        if calls[0] == int(at):
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*given, **named)
    return made
for each in ("open", "link", "fsync"):
    setattr(os, each, dying(getattr(os, each)))
store.DirectoryStore(Path(where)).create(name, b"whole" * 10000)
print(calls[0])
"""


def test_who_is_killed_at_any_call_leaves_all_of_a_name_or_nothing(tmp_path: Path) -> None:
    def run(where: Path, at: int) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-c", KILLED, NAME, str(where), str(at)]
        return subprocess.run(command, capture_output=True, timeout=60, check=False)

    calls = int(run(tmp_path / "whole", 0).stdout)
    assert calls >= 6
    for at in range(1, calls + 1):
        where = tmp_path / f"killed-{at}"
        assert run(where, at).returncode == -9
        store = DirectoryStore(where)
        there = store.read(NAME)
        assert there in (None, b"whole" * 10000)
        assert store.names("changelog") == ([NAME] if there else [])
        assert store.create(NAME, b"again") is (there is None)


@pytest.mark.parametrize("wrong", ["aws_secret_access_key=wrong", "aws_access_key_id=nobody"])
def test_wrong_credentials_are_named_and_not_shown(
    s3_of_checkpoints: S3Server, tmp_path: Path, wrong: str
) -> None:
    told = bucket(s3_of_checkpoints)
    assert told.credentials
    member = wrong.partition("=")[0]
    lines = told.credentials.read_text().splitlines()
    changed = [wrong if line.startswith(member) else line for line in lines]
    file = tmp_path / "credentials"
    file.touch(0o600)
    file.write_text("\n".join(changed) + "\n")
    store = S3Store(told.model_copy(update={"credentials": file}), tmp_path)
    for ask in (lambda: store.create(NAME, b"x"), lambda: store.read(NAME), lambda: store.names("changelog")):
        with pytest.raises(StoreUnavailable) as caught:
            ask()
        assert f"s3://{stores.BUCKET}/" in str(caught.value)
        assert wrong.partition("=")[2] not in str(caught.value)
    assert S3Store(told, tmp_path).read(NAME) is None


def test_credentials_that_others_can_read_are_refused(s3_of_checkpoints: S3Server, tmp_path: Path) -> None:
    told = bucket(s3_of_checkpoints)
    (tmp_path / "open").write_text("[default]\n")
    with pytest.raises(ConfigError, match="open"):
        S3Store(told.model_copy(update={"credentials": tmp_path / "open"}), tmp_path)


def test_a_server_that_is_away_is_named(s3_of_checkpoints: S3Server, tmp_path: Path) -> None:
    store = S3Store(bucket(s3_of_checkpoints, "away", endpoint="http://127.0.0.1:1"), tmp_path)
    with pytest.raises(StoreUnavailable, match=f"s3://{stores.BUCKET}/away/{NAME}: EndpointConnectionError"):
        store.read(NAME)


def test_a_bucket_that_is_not_there_is_named(s3_of_checkpoints: S3Server, tmp_path: Path) -> None:
    store = S3Store(bucket(s3_of_checkpoints, url="s3://no-such-bucket/x"), tmp_path)
    with pytest.raises(StoreUnavailable, match=r"s3://no-such-bucket/x/\S+: NoSuchBucket"):
        store.create(NAME, b"x")


@contextmanager
def takes_all() -> Iterator[tuple[str, list[str]]]:
    """A server that knows no conditions, and what was put there."""
    put: list[str] = []

    class Taking(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            put.append(self.path)
            self.send_response(200)
            self.send_header("ETag", '"x"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", put
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_writes_whatever_the_condition_says_gets_no_version(
    s3_of_checkpoints: S3Server, tmp_path: Path
) -> None:
    with takes_all() as (endpoint, put):
        store = S3Store(bucket(s3_of_checkpoints, "x", endpoint=endpoint), tmp_path)
        with pytest.raises(StoreUnavailable, match="ignores If-None-Match"):
            store.create(NAME, b"x")
    assert put == [f"/{stores.BUCKET}/x/{PROBE}"] * 2
