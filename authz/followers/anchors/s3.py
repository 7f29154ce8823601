"""Checkpoints as objects under lock in compliance mode, which not even their owner can delete or shorten.

    <prefix><log>/<20-digit size>     created only if there is none (If-None-Match), then read back by version

In: Candidates. Out: Receipts with the version's id. Runs on the runner's threads. Object lock protects
versions and not keys: anybody with rights can put a newer version in front, so the first version of a key is
the one that counts, everywhere here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from botocore.exceptions import ClientError
from msgspec import Struct

from authz import s3_client
from authz.config_anchors import S3Anchor as Settings
from authz.followers.anchors.anchor import Candidate, Receipt, Refused, Unavailable
from authz.followers.anchors.directory import DIGITS, compare, file_name
from authz.ledger.notes import MAX_NOTE
from authz.s3_bucket import REFUSED, Bucket, code_of

_FINAL: Final = frozenset(
    (
        "AccessDenied",
        "InvalidAccessKeyId",
        "InvalidBucketName",
        "InvalidRequest",
        "NoSuchBucket",
        "ObjectLockConfigurationNotFoundError",
        "SignatureDoesNotMatch",
    )
)


class Held(Struct, frozen=True):
    """What lies under a key (without the setting's prefix): its first version, and how many came later."""

    key: str
    version_id: str
    data: bytes
    later: int


class S3Anchor:
    """The bucket must have object lock enabled; that is asked once, before the first object."""

    kind = "s3"

    def __init__(self, settings: Settings, state: Path) -> None:
        self.every_s = settings.every_s
        self._retain = timedelta(days=settings.retain_days)
        self._client = s3_client.client(settings, state)
        self._bucket = Bucket(self._client, settings.bucket, settings.prefix, _wrong)
        self._locked = False

    def put(self, candidate: Candidate) -> Receipt:
        name = f"{candidate.log}/{file_name(candidate.size)}"
        key, where = self._bucket.key(name), self._bucket.place(name)
        with self._bucket.explained(name):
            self._check_locked()
            version = self._create(key, candidate.note) or self._first(key)
            stored, modified = self._get(key, version)
            compare(stored, candidate, f"{where}?versionId={version}")
            until = self._retained(key, version)
        artefact = {
            "bucket": self._bucket.name,
            "key": key,
            "retain_until": until.isoformat(),
            "sha256": hashlib.sha256(stored).hexdigest(),
            "version_id": version,
        }
        return Receipt(
            self._bucket.name,
            where=where,
            suffix=".s3",
            artefact=json.dumps(artefact, sort_keys=True).encode() + b"\n",
            dated=modified.timestamp(),
            version_id=version,
            retain_until=until.timestamp(),
        )

    def larger(self, log: str, size: int) -> bytes | None:
        prefix = self._bucket.key(f"{log}/")
        with self._bucket.explained(f"{log}/"):
            keys = [key for key in self._keys(prefix, prefix + file_name(size)) if _is_size(key, prefix)]
            return self._get(keys[-1], self._first(keys[-1]))[0] if keys else None

    def logs(self, prefix: str) -> list[str]:
        with self._bucket.explained(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket.name, Prefix=self._bucket.key(prefix), Delimiter="/"
            )
            below = [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", ())]
        return sorted(path.removeprefix(self._bucket.key("")).rstrip("/") for path in below)

    def held(self, prefix: str = "") -> Iterator[Held]:
        """Everything below `prefix`, by key. Raises Unavailable, Refused."""
        with self._bucket.explained(prefix):
            listed: dict[str, list[str]] = {}
            for key, version in self._listed(self._bucket.key(prefix)):
                listed.setdefault(key, []).append(version)
            for key, versions in sorted(listed.items()):
                data, _ = self._get(key, versions[-1])
                yield Held(key.removeprefix(self._bucket.key("")), versions[-1], data, len(versions) - 1)

    # -- one request each

    def _check_locked(self) -> None:
        if self._locked:
            return
        found = self._client.get_object_lock_configuration(Bucket=self._bucket.name)
        if found["ObjectLockConfiguration"].get("ObjectLockEnabled") != "Enabled":
            raise Refused(f"s3://{self._bucket.name}: object lock is not enabled")
        self._locked = True

    def _create(self, key: str, data: bytes) -> str:
        """The version's id; "" if there is such an object already."""
        try:
            made = self._client.put_object(
                Bucket=self._bucket.name,
                Key=key,
                Body=data,
                IfNoneMatch="*",
                ChecksumAlgorithm="SHA256",
                ContentType="text/plain; charset=utf-8",
                ObjectLockMode="COMPLIANCE",
                ObjectLockRetainUntilDate=datetime.now(UTC) + self._retain,
            )
        except ClientError as error:
            if code_of(error) in REFUSED:
                return ""
            raise
        return str(made.get("VersionId", ""))

    def _first(self, key: str) -> str:
        """The id of the version that was created first."""
        versions = [version for found, version in self._listed(key) if found == key]
        if not versions:
            raise Refused(f"s3://{self._bucket.name}/{key}: no version of it can be had")
        return versions[-1]

    def _listed(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Keys and ids of their versions, the newest of each first; delete markers are none."""
        pages = self._client.get_paginator("list_object_versions").paginate(
            Bucket=self._bucket.name, Prefix=prefix
        )
        for page in pages:
            yield from ((each["Key"], each["VersionId"]) for each in page.get("Versions", ()))

    def _get(self, key: str, version: str) -> tuple[bytes, datetime]:
        """The bytes, and when the server says they came."""
        found = self._client.get_object(Bucket=self._bucket.name, Key=key, VersionId=version)
        with found["Body"] as body:
            data: bytes = body.read(MAX_NOTE + 1)
        modified: datetime = found["LastModified"]
        return data, modified

    def _retained(self, key: str, version: str) -> datetime:
        """Until when it is locked."""
        found = self._client.get_object_retention(Bucket=self._bucket.name, Key=key, VersionId=version)
        retention = found["Retention"]
        if retention["Mode"] != "COMPLIANCE":
            raise Refused(f"s3://{self._bucket.name}/{key}: locked in mode {retention['Mode']} only")
        until: datetime = retention["RetainUntilDate"]
        return until.astimezone(UTC)

    def _keys(self, prefix: str, after: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket.name, Prefix=prefix, StartAfter=after
        )
        for page in pages:
            yield from (each["Key"] for each in page.get("Contents", ()))


def _wrong(what: str, code: str) -> Exception:
    """Refused where only a person can help."""
    return Refused(what) if code in _FINAL else Unavailable(what)


def _is_size(key: str, prefix: str) -> bool:
    name = key.removeprefix(prefix)
    return len(name) == DIGITS and name.isdecimal()
