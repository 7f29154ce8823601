"""Deleted segments come back from a real S3 server, and only if they are what was deleted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from authz.config_retention import Archive as Settings
from authz.errors import ConfigError, EvidenceUnavailable, IntegrityViolation
from authz.followers.retention.archive import S3Archive
from authz.followers.retention.restore import restore
from authz.ledger.outbox import Outbox
from tests import ledgers, retaining
from tests.retaining import YEAR, Retaining
from tests.s3 import S3Server, s3_server
from tests.workers import Worker

LATE, GRACE = YEAR + timedelta(days=30), timedelta(days=7)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as made:
        yield made


@pytest.fixture
def archive(server: S3Server, request: pytest.FixtureRequest) -> S3Archive:
    bucket = f"a-{abs(hash(request.node.name)):x}"[:40]
    server.bucket(bucket, locked=False)
    given = server.settings(bucket)
    settings = Settings(bucket=bucket, endpoint=given.endpoint, credentials=given.credentials, timeout_s=20)
    return S3Archive(settings, Path("/"))


@pytest.fixture
async def pruned_worker(worker: Worker, archive: S3Archive) -> Worker:
    """Whose two oldest epochs are pruned and archived."""
    await retaining.aged(worker)
    worker.judged = True
    with Outbox(worker.settings.outbox) as outbox:
        retention, said = Retaining(worker, outbox, archive), []
        for after in (LATE, LATE + GRACE, LATE + GRACE):
            retention.round(after)
            said = outbox.waiting(1000) or said
            outbox.written(said[-1].number)
    assert said[-1].members["archive"].startswith("s3://a-")
    return worker


def name(worker: Worker, epoch: int = 0) -> str:
    return f"aegis.test/worker-0/{worker.epochs[epoch].name}"


def test_what_was_deleted_comes_back_byte_for_byte(pruned_worker: Worker, archive: S3Archive) -> None:
    epoch = pruned_worker.epochs[0]
    file = restore(epoch, name(pruned_worker), 0, archive)
    assert file == epoch / "entries" / "00000000.jsonl"
    assert len(ledgers.read(epoch)) == 5
    with pytest.raises(ConfigError, match="not pruned"):
        restore(epoch, name(pruned_worker), 0, archive)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.replace(b"allow", b"deny!", 1), "not what was deleted"),
        (lambda data: data[:-1], "does not hold its 5 entries"),
        (lambda data: data + b"{}\n", "does not hold its 5 entries"),
        (lambda data: b"", "does not hold its 5 entries"),
    ],
)
def test_what_was_changed_in_the_archive_does_not_come_back(
    pruned_worker: Worker,
    archive: S3Archive,
    server: S3Server,
    change: ledgers.Callable[[bytes], bytes],
    said: str,
) -> None:
    bucket = archive._bucket
    key = bucket.key(f"{name(pruned_worker)}/entries/00000000.jsonl")
    data = archive.get(name(pruned_worker), 0)
    server.client.put_object(Bucket=bucket.name, Key=key, Body=change(data))
    with pytest.raises(IntegrityViolation, match=said):
        restore(pruned_worker.epochs[0], name(pruned_worker), 0, archive)
    assert ledgers.read(pruned_worker.epochs[0]) == []


def test_a_segment_of_another_log_does_not_come_back_for_this_one(
    pruned_worker: Worker, archive: S3Archive
) -> None:
    with pytest.raises(IntegrityViolation, match="not what was deleted"):
        restore(pruned_worker.epochs[0], name(pruned_worker, 1), 0, archive)


def test_what_is_not_there_is_named(pruned_worker: Worker, archive: S3Archive) -> None:
    with pytest.raises(EvidenceUnavailable, match="NoSuchKey"):
        archive.get("d/w/none", 0)


def test_other_bytes_under_the_name_stop_the_deletion(archive: S3Archive, tmp_path: Path) -> None:
    file = tmp_path / "segment"
    file.write_bytes(b"one\n")
    first = archive.put("d/w/e", 0, file)
    assert archive.put("d/w/e", 0, file) == first
    file.write_bytes(b"two\n")
    with pytest.raises(EvidenceUnavailable, match="other bytes"):
        archive.put("d/w/e", 0, file)
