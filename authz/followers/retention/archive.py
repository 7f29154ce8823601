"""Segments in S3, before they are deleted here, and back again.

    <prefix><log>/entries/<number>.jsonl      its bytes, created only if there is none, then read back

In: a segment's file, its log and number. Out: where it is, and the SHA-256 of its bytes. Called by retention,
and by `aegis restore`. What is there under the name with other bytes is never taken for ours. Raises
EvidenceUnavailable, with the object's name, whenever S3 cannot do its work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from authz import s3_client
from authz.config_retention import Archive as Settings
from authz.errors import EvidenceUnavailable
from authz.followers.retention.archived import Archived
from authz.ledger.form import MAX_ENTRY
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name

MAX_SEGMENT: Final = SEGMENT_ENTRIES * (MAX_ENTRY + 1)  # bytes
EXISTS: Final = ("PreconditionFailed", "ConditionalRequestConflict")


class S3Archive:
    """One bucket."""

    def __init__(self, settings: Settings, state: Path) -> None:
        self._bucket, self._prefix = settings.bucket, settings.prefix
        self._client: Any = s3_client.client(settings, state)

    def put(self, log: str, number: int, file: Path) -> Archived:
        """Have the bytes of `file` there: uploaded, or from an earlier time; read back in any case."""
        key, data = self._key(log, number), file.read_bytes()
        with self._explained(key):
            try:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=data,
                    IfNoneMatch="*",
                    ChecksumAlgorithm="SHA256",
                    ContentType="application/jsonl",
                )
            except ClientError as error:
                if error.response["Error"].get("Code") not in EXISTS:
                    raise
        if self.get(log, number) != data:
            raise EvidenceUnavailable(f"{self._place(key)}: other bytes than those of {file} are there")
        return Archived(self._place(key), hashlib.sha256(data).hexdigest())

    def get(self, log: str, number: int) -> bytes:
        key = self._key(log, number)
        with self._explained(key):
            found = self._client.get_object(Bucket=self._bucket, Key=key)
            with found["Body"] as body:
                data: bytes = body.read(MAX_SEGMENT + 1)
        if len(data) > MAX_SEGMENT:
            raise EvidenceUnavailable(f"{self._place(key)}: longer than a segment can be")
        return data

    def _key(self, log: str, number: int) -> str:
        return f"{self._prefix}{log}/entries/{segment_name(number * SEGMENT_ENTRIES)}"

    def _place(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = error.response["Error"].get("Code", "no code")
            raise EvidenceUnavailable(f"{self._place(key)}: {code}") from None
        except BotoCoreError as error:
            raise EvidenceUnavailable(f"{self._place(key)}: {type(error).__name__}") from None
