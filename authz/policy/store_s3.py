"""The store of policy versions in a bucket of an S3 server, shared by machines.

    s3://BUCKET/PREFIX/<name>     one object for each name of `store.py`, created by If-None-Match: *

In: the settings. Out: Store. The server has to be consistent for reads after writes, and to know
If-None-Match on PUT: whether it does is asked before the first object is created.
"""

from __future__ import annotations

from pathlib import Path

from authz import s3_client
from authz.config_publish import BundleS3
from authz.errors import StoreUnavailable
from authz.s3_bucket import Bucket


class S3Store:
    """As `store.Store`. Raises ConfigError for credentials that cannot be used."""

    look_every_s = 1.0

    def __init__(self, settings: BundleS3, state: Path) -> None:
        client = s3_client.client(settings, state)
        self._bucket = Bucket.at(client, settings.url, lambda what, code: StoreUnavailable(what))

    def create(self, name: str, data: bytes) -> bool:
        """As `Store.create`."""
        self._bucket.check_conditions()
        return self._bucket.write(name, data)

    def read(self, name: str) -> bytes | None:
        """As `Store.read`."""
        found = self._bucket.read(name)
        return found[0] if found else None

    def names(self, folder: str) -> list[str]:
        """As `Store.names`."""
        return self._bucket.names(f"{folder}/")

    def place(self) -> str:
        """As `Store.place`."""
        return self._bucket.place().rstrip("/")
