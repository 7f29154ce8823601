"""The store of policy versions in a bucket of an S3 server, shared by machines.

    s3://BUCKET/PREFIX/<name>     one object for each name of `store.py`, created by If-None-Match: *

In: the settings. Out: Store. The server has to be consistent for reads after writes and to know If-None-Match
on PUT; whether it does is asked before the first object is created, since otherwise of two publishers both
would win. Nothing of the credentials reaches a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from authz import s3_client
from authz.config_publish import BundleS3
from authz.errors import StoreUnavailable

PROBE: Final = ".conditional-writes"  # no version's name
_EXISTS: Final = ("PreconditionFailed", "ConditionalRequestConflict")
_ABSENT: Final = ("NoSuchKey", "404")


class S3Store:
    """As `store.Store`. Raises ConfigError for credentials that cannot be used."""

    look_every_s = 1.0

    def __init__(self, settings: BundleS3, state: Path) -> None:
        bucket, _, prefix = settings.url.removeprefix("s3://").partition("/")
        self._bucket, self._prefix = bucket, f"{prefix.rstrip('/')}/".lstrip("/")
        self._client = s3_client.client(settings, state)
        self._trusted = False

    def create(self, name: str, data: bytes) -> bool:
        """As `Store.create`."""
        self._check_conditional()
        return self._put(name, data)

    def read(self, name: str) -> bytes | None:
        """As `Store.read`."""
        key = self._prefix + name
        with self._explained(key):
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise
            data: bytes = found["Body"].read()
        return data

    def names(self, folder: str) -> list[str]:
        """As `Store.names`."""
        key = f"{self._prefix}{folder}/"
        with self._explained(key):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=key)
            keys = [str(each["Key"]) for page in pages for each in page.get("Contents", ())]
        return sorted(each.removeprefix(self._prefix) for each in keys)

    def place(self) -> str:
        """As `Store.place`."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def _put(self, name: str, data: bytes) -> bool:
        key = self._prefix + name
        with self._explained(key):
            try:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if _code(error) in _EXISTS:
                    return False
                raise
        return True

    def _check_conditional(self) -> None:
        """Raises StoreUnavailable if the server writes whatever the condition says."""
        if self._trusted:
            return
        self._put(PROBE, b"0\n")  # it may be there already
        if self._put(PROBE, b"1\n"):
            raise StoreUnavailable(f"{self.place()}/{PROBE}: the server ignores If-None-Match on PUT")
        self._trusted = True

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        where = f"s3://{self._bucket}/{key}"
        try:
            yield
        except ClientError as error:
            raise StoreUnavailable(f"{where}: {_code(error) or 'no code'}") from None
        except BotoCoreError as error:
            raise StoreUnavailable(f"{where}: {type(error).__name__}") from None


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
