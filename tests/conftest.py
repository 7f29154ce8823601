"""What any test may ask for."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests import stores
from tests.postgresql import Postgresql, postgresql
from tests.s3 import S3Server, s3_server
from tests.stores import Place
from tests.workers import Worker

# `opa` and `envoy` are installed beside this Python, whose directory need not be on PATH.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


@pytest.fixture(autouse=True)
def logs_of_the_test() -> Iterator[None]:
    """A command that runs within a test tells structlog to write to a stream that ends with it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Postgresql]:
    with postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def s3_of_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        server.bucket(stores.BUCKET, locked=False)
        yield server


@pytest.fixture(params=stores.KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A store of what was ever signed, of each kind, in which nothing is."""
    name = f"t{uuid.uuid4().hex}"
    if request.param == "sqlite":
        return stores.sqlite_place(tmp_path)
    if request.param == "postgresql":
        return stores.postgresql_place(tmp_path, request.getfixturevalue("postgresql_server"), name)
    return stores.s3_place(tmp_path, request.getfixturevalue("s3_of_checkpoints"), name)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """A worker's ledger, found whole on disk after the test unless that judged it itself."""
    made = Worker(tmp_path / "var")
    yield made
    if made.root.is_dir() and made.epochs and not made.judged:
        made.check()
