"""The store of what was ever signed as objects of an S3 bucket, shared by machines.

    <prefix>/<log>     {"log":"...","root":"<hex>","size":7}     canonical JSON, replaced only by If-Match

In: `s3://BUCKET/PREFIX`, S3Access. Out: Checkpoints. A change is one conditional PUT, by the ETag of what was
read before; the server has to be consistent for reads after writes, and to know If-None-Match and If-Match on
PUT. Whether it does is asked once, before the first change. Every sealing of a log is a GET and a PUT.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from authz import canonical, s3_client
from authz.config_anchors import S3Access
from authz.errors import EvidenceUnavailable
from authz.ledger.checkpoints import agree, check_growth
from authz.ledger.members import HASH

MAX_OBJECT: Final = 4096  # bytes
PROBE: Final = ".conditional-writes"  # an object of no log
OTHER_ETAG: Final = '"00000000000000000000000000000000"'  # of nothing
_REFUSED: Final = ("PreconditionFailed", "ConditionalRequestConflict")  # of If-Match and If-None-Match
_ABSENT: Final = ("NoSuchKey", "404")

_Stored = tuple[int, bytes, str]  # size, root, ETag


class S3Checkpoints:
    """Raises EvidenceUnavailable, with bucket and key, whenever the server does not do its work; ConfigError
    for credentials that cannot be used.
    """

    def __init__(self, url: str, access: S3Access, state: Path) -> None:
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self._bucket, self._prefix = bucket, f"{prefix.rstrip('/')}/".lstrip("/")
        self._client = s3_client.client(access, state)
        self._trusted = False

    def advance(self, log: str, size: int, root: bytes, *, expected: int) -> bool:
        """As `checkpoints.Checkpoints.advance`."""
        check_growth(log, size, expected)
        data = canonical.encode({"log": log, "root": root.hex(), "size": size})
        _parse(data, log)
        self._check_conditional()
        stored = self._read(log)
        if (stored[0] if stored else 0) == expected < size:
            etag = stored[2] if stored else ""
            if self._put_if(self._prefix + log, data, etag):
                return True
        return agree(log, size, root, self.latest(log))

    def latest(self, log: str) -> tuple[int, bytes] | None:
        """Size and root last signed for `log`, None if it never was."""
        stored = self._read(log)
        return stored[:2] if stored else None

    def logs(self, prefix: str) -> list[str]:
        """The logs whose names start with `prefix`, in the order of their names."""
        key = self._prefix + prefix
        with self._explained(key):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=key)
            keys = [each["Key"] for page in pages for each in page.get("Contents", ())]
        names = (key.removeprefix(self._prefix) for key in keys)
        return sorted(name for name in names if name != PROBE)

    def close(self) -> None:
        self._client.close()

    def _read(self, log: str) -> _Stored | None:
        key = self._prefix + log
        with self._explained(key):
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise
            data, etag = found["Body"].read(MAX_OBJECT + 1), found["ETag"]
        try:
            return (*_parse(data, log), etag)
        except ValueError as error:
            raise EvidenceUnavailable(f"{self._named(key)}: {error}") from None

    def _put_if(self, key: str, data: bytes, etag: str) -> bool:
        """Whether `key` was still what had this ETag, or with "" was not there."""
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        with self._explained(key):
            try:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=data, **condition)
            except ClientError as error:
                if _code(error) in _REFUSED:
                    return False
                raise
        return True

    def _check_conditional(self) -> None:
        """Raises EvidenceUnavailable if the server writes whatever the condition says: then two could win."""
        if self._trusted:
            return
        key = self._prefix + PROBE
        self._put_if(key, b"0\n", "")  # it may be there already
        if self._put_if(key, b"1\n", "") or self._put_if(key, b"1\n", OTHER_ETAG):
            what = "the server ignores If-None-Match or If-Match on PUT"
            raise EvidenceUnavailable(f"{self._named(key)}: {what}")
        self._trusted = True

    def _named(self, key: str) -> str:
        return f"checkpoint store s3://{self._bucket}/{key}"

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise EvidenceUnavailable(f"{self._named(key)}: {_code(error) or 'no code'}") from None
        except BotoCoreError as error:
            raise EvidenceUnavailable(f"{self._named(key)}: {type(error).__name__}") from None


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _parse(data: bytes, log: str) -> tuple[int, bytes]:
    """Raises ValueError unless `data` is a size and a root of `log`."""
    members: dict[str, Any] = canonical.parse(data)
    size, root = members.get("size"), members.get("root")
    if members.keys() != {"log", "root", "size"} or members["log"] != log:
        raise ValueError("not what was signed of this log")
    if type(size) is not int or size < 1 or type(root) is not str or not HASH.fullmatch(root):
        raise ValueError("not a size and a root")
    return size, bytes.fromhex(root)
