"""Objects under lock, on a real S3 server: created once, read back by version, and not to be got rid of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from authz.config_anchors import S3Anchor as Settings
from authz.errors import ConfigError
from authz.followers.anchors.anchor import Contradicted, Refused, Unavailable
from authz.followers.anchors.s3 import S3Anchor
from authz.ledger import notes
from tests import ledgers
from tests.s3 import S3Server, s3_server
from tests.unit.followers.anchors.logs import LOG, Log

NUMBERS = count()
KEY = f"anchors/{LOG}/{5:020}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as made:
        yield made


@pytest.fixture
def bucket(server: S3Server) -> str:
    """One for each test: what is locked stays."""
    name = f"test-{next(NUMBERS)}"
    server.bucket(name)
    return name


@pytest.fixture
def anchor(server: S3Server, bucket: str, tmp_path: Path) -> S3Anchor:
    return S3Anchor(server.settings(bucket), tmp_path)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "ledger")


def test_an_object_is_locked_and_read_back_by_its_version(
    server: S3Server, bucket: str, anchor: S3Anchor, log: Log
) -> None:
    candidate = log.candidate(5)
    receipt = anchor.put(candidate)
    assert receipt.where == f"s3://{bucket}/{KEY}"
    assert server.versions(bucket, KEY) == [receipt.version_id]
    stored = server.client.get_object(Bucket=bucket, Key=KEY, VersionId=receipt.version_id)
    assert stored["Body"].read() == candidate.note
    retention = server.client.get_object_retention(Bucket=bucket, Key=KEY, VersionId=receipt.version_id)
    assert retention["Retention"]["Mode"] == "COMPLIANCE"
    until = datetime.fromtimestamp(receipt.retain_until, UTC)
    assert until - datetime.now(UTC) > timedelta(days=365)
    kept = json.loads(receipt.artefact)
    assert (kept["version_id"], kept["key"], kept["bucket"]) == (receipt.version_id, KEY, bucket)
    assert datetime.fromtimestamp(receipt.dated, UTC) == stored["LastModified"]


def test_not_even_the_owner_gets_rid_of_it(server: S3Server, bucket: str, anchor: S3Anchor, log: Log) -> None:
    version = anchor.put(log.candidate(5)).version_id
    which = {"Bucket": bucket, "Key": KEY, "VersionId": version}
    sooner = {"Mode": "COMPLIANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(days=1)}
    weaker = {"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(days=400)}
    for attempt in (
        lambda: server.client.delete_object(**which),
        lambda: server.client.delete_object(**which, BypassGovernanceRetention=True),
        lambda: server.client.put_object_retention(**which, Retention=sooner),
        lambda: server.client.put_object_retention(**which, Retention=weaker, BypassGovernanceRetention=True),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            attempt()
    assert server.client.get_object(**which)["Body"].read() == log.candidate(5).note


def test_the_same_once_more_is_the_same_version(
    server: S3Server, bucket: str, anchor: S3Anchor, log: Log
) -> None:
    first = anchor.put(log.candidate(5))
    assert anchor.put(log.candidate(5)) == first
    assert server.versions(bucket, KEY) == [first.version_id]


def test_a_newer_version_in_front_changes_nothing(
    server: S3Server, bucket: str, anchor: S3Anchor, log: Log
) -> None:
    """Whoever may write can put one in front of a locked one; the first one counts."""
    first = anchor.put(log.candidate(5))
    other = notes.sign(LOG, 9, b"\x09" * 32, ledgers.LOG_SEED)
    server.client.put_object(Bucket=bucket, Key=KEY, Body=other)
    server.client.delete_object(Bucket=bucket, Key=KEY)
    assert anchor.put(log.candidate(5)).version_id == first.version_id
    (held,) = anchor.held()
    assert (held.key, held.version_id, held.data, held.later) == (
        f"{LOG}/{5:020}",
        first.version_id,
        log.candidate(5).note,
        1,
    )


def test_what_somebody_put_there_first_contradicts(
    server: S3Server, bucket: str, anchor: S3Anchor, log: Log
) -> None:
    other = notes.sign(LOG, 5, b"\x05" * 32, ledgers.LOG_SEED)
    server.client.put_object(Bucket=bucket, Key=KEY, Body=other)
    with pytest.raises(Contradicted, match=f"{KEY}.*another checkpoint lies there"):
        anchor.put(log.candidate(5))


def test_the_largest_beyond_a_size_is_found(anchor: S3Anchor, log: Log) -> None:
    assert anchor.larger(LOG, 0) is None
    for size in (3, 9, 5):
        anchor.put(log.candidate(size))
    assert anchor.larger(LOG, 8) == log.candidate(9).note
    assert anchor.larger(LOG, 9) is None
    assert anchor.logs("aegis.test/worker-0/") == [LOG]
    assert anchor.logs("aegis.test/worker-7/") == []


def test_a_bucket_without_lock_takes_nothing(server: S3Server, log: Log, tmp_path: Path) -> None:
    server.bucket("without-lock", locked=False)
    with pytest.raises(Refused, match="ObjectLockConfigurationNotFoundError"):
        S3Anchor(server.settings("without-lock"), tmp_path).put(log.candidate(5))
    assert server.versions("without-lock", KEY) == []


def test_a_bucket_that_is_not_there_is_for_a_person(server: S3Server, log: Log, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="NoSuchBucket"):
        S3Anchor(server.settings("nowhere-at-all"), tmp_path).put(log.candidate(5))


def test_nobody_there_is_waited_for_and_no_key_is_said(server: S3Server, log: Log, tmp_path: Path) -> None:
    gone = server.settings("nowhere-at-all", endpoint="http://127.0.0.1:9", timeout_s=2)
    with pytest.raises(Unavailable, match="EndpointConnectionError") as caught:
        S3Anchor(gone, tmp_path).put(log.candidate(5))
    assert "test-" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("[default]\naws_access_key_id=a\naws_secret_access_key=b\n", 0o640, "others may read it"),
        ("[other]\naws_access_key_id=a\n", 0o600, "not a credentials file with a profile"),
        ("[default]\naws_access_key_id=very-secret\n", 0o600, "not aws_access_key_id and"),
        ("very-secret", 0o600, "not a credentials file"),
        (None, 0o600, "No such file"),
    ],
)
def test_credentials_that_cannot_be_used_are_named_and_not_shown(
    tmp_path: Path, text: str | None, mode: int, why: str
) -> None:
    file = tmp_path / "credentials"
    if text is not None:
        file.write_text(text)
        file.chmod(mode)
    with pytest.raises(ConfigError, match=rf"^{file}: .*{why}") as caught:
        S3Anchor(Settings(bucket="abc", credentials=Path("credentials")), tmp_path)
    assert "very-secret" not in str(caught.value)
