"""Segments in S3, before they are deleted here, and back again.

    <prefix><log>/entries/<number>.jsonl      its bytes, created only if there is none, then read back

In: a segment's file, its log and number. Out: where it is, and the SHA-256 of its bytes. Called by retention,
and by `aegis restore`. What is there under the name with other bytes is never taken for ours. Raises
EvidenceUnavailable, with the object's name, whenever S3 cannot do its work.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from authz import s3_client
from authz.config_retention import Archive as Settings
from authz.errors import EvidenceUnavailable
from authz.followers.retention.archived import Archived
from authz.ledger.form import MAX_ENTRY
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name
from authz.s3_bucket import Bucket

MAX_SEGMENT: Final = SEGMENT_ENTRIES * (MAX_ENTRY + 1)  # bytes


class S3Archive:
    """One bucket."""

    def __init__(self, settings: Settings, state: Path) -> None:
        client = s3_client.client(settings, state)
        self._bucket = Bucket(
            client, settings.bucket, settings.prefix, lambda what, code: EvidenceUnavailable(what)
        )

    def put(self, log: str, number: int, file: Path) -> Archived:
        """Have the bytes of `file` there: uploaded, or from an earlier time; read back in any case."""
        name, data = _name(log, number), file.read_bytes()
        self._bucket.write(name, data, ChecksumAlgorithm="SHA256", ContentType="application/jsonl")
        if self.get(log, number) != data:
            raise EvidenceUnavailable(
                f"{self._bucket.place(name)}: other bytes than those of {file} are there"
            )
        return Archived(self._bucket.place(name), hashlib.sha256(data).hexdigest())

    def get(self, log: str, number: int) -> bytes:
        name = _name(log, number)
        found = self._bucket.read(name, MAX_SEGMENT + 1)
        if found is None:
            raise EvidenceUnavailable(f"{self._bucket.place(name)}: NoSuchKey")
        if len(found[0]) > MAX_SEGMENT:
            raise EvidenceUnavailable(f"{self._bucket.place(name)}: longer than a segment can be")
        return found[0]


def _name(log: str, number: int) -> str:
    return f"{log}/entries/{segment_name(number * SEGMENT_ENTRIES)}"
