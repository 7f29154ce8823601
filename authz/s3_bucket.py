"""A part of an S3 bucket, for whoever keeps something there: read, write on a condition, list.

In: a client, the bucket's name, a prefix that all names get. Out: bytes, or the exception that `wrong(what,
code)` makes: `what` names the object, `code` is S3's, "" where nobody answered; never a credential. Used by
the stores of checkpoints and of policy versions, by the archive and the anchors. Two who write at once are
told apart by the server alone, so whether it heeds conditions is asked before the first write that needs
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

PROBE: Final = ".conditional-writes"  # an object of nobody
OTHER_ETAG: Final = '"00000000000000000000000000000000"'  # of nothing
REFUSED: Final = ("PreconditionFailed", "ConditionalRequestConflict")  # of If-Match and If-None-Match
_ABSENT: Final = ("NoSuchKey", "404")


class Bucket:
    """Every name is below `prefix`."""

    def __init__(self, client: Any, name: str, prefix: str, wrong: Callable[[str, str], Exception]) -> None:
        self.client, self.name, self._prefix, self._wrong = client, name, prefix, wrong
        self._trusted = False

    @classmethod
    def at(cls, client: Any, url: str, wrong: Callable[[str, str], Exception]) -> Bucket:
        """Of `s3://BUCKET/PREFIX`."""
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        return cls(client, bucket, f"{prefix.rstrip('/')}/".lstrip("/"), wrong)

    def key(self, name: str) -> str:
        return self._prefix + name

    def place(self, name: str = "") -> str:
        return f"s3://{self.name}/{self._prefix}{name}"

    def read(self, name: str, most: int | None = None) -> tuple[bytes, str] | None:
        """At most the first `most` bytes and the ETag of an object, None if there is none."""
        with self.explained(name):
            try:
                found = self.client.get_object(Bucket=self.name, Key=self.key(name))
            except ClientError as error:
                if code_of(error) in _ABSENT:
                    return None
                raise
            with found["Body"] as body:
                return body.read(most), str(found["ETag"])

    def write(self, name: str, data: bytes, etag: str = "", **how: Any) -> bool:
        """Whether `name` was still what had this ETag, or with "" was not there, and is `data` now."""
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        with self.explained(name):
            try:
                self.client.put_object(Bucket=self.name, Key=self.key(name), Body=data, **condition, **how)
            except ClientError as error:
                if code_of(error) in REFUSED:
                    return False
                raise
        return True

    def names(self, start: str) -> list[str]:
        """Those that begin with `start`, in order."""
        with self.explained(start):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=self.key(start)
            )
            keys = [str(each["Key"]) for page in pages for each in page.get("Contents", ())]
        names = (key.removeprefix(self._prefix) for key in keys)
        return sorted(name for name in names if name != PROBE)

    def check_conditions(self, *, match: bool = False) -> None:
        """Raises what `wrong` makes if the server writes whatever If-None-Match, and with `match` If-Match,
        says: then of two who write both would win.
        """
        if self._trusted:
            return
        self.write(PROBE, b"0\n")  # it may be there already
        if self.write(PROBE, b"1\n"):
            raise self._wrong(f"{self.place(PROBE)}: the server ignores If-None-Match on PUT", "")
        if match and self.write(PROBE, b"1\n", OTHER_ETAG):
            raise self._wrong(f"{self.place(PROBE)}: the server ignores If-Match on PUT", "")
        self._trusted = True

    @contextmanager
    def explained(self, name: str) -> Iterator[None]:
        """What the server says in it, or that it says nothing, becomes what `wrong` makes."""
        try:
            yield
        except ClientError as error:
            code = code_of(error)
            raise self._wrong(f"{self.place(name)}: {code or 'no code'}", code) from None
        except BotoCoreError as error:
            raise self._wrong(f"{self.place(name)}: {type(error).__name__}", "") from None


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
