"""The store of what was ever signed as objects of an S3 bucket, shared by machines.

    <prefix>/<log>     {"log":"...","root":"<hex>","size":7}     canonical JSON, replaced only by If-Match

In: `s3://BUCKET/PREFIX`, S3Access. Out: Checkpoints. A change is one conditional PUT, by the ETag of what was
read before; the server has to be consistent for reads after writes, and to know If-None-Match and If-Match on
PUT. Whether it does is asked once, before the first change. Every sealing of a log is a GET and a PUT.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from authz import canonical, s3_client
from authz.config_anchors import S3Access
from authz.errors import EvidenceUnavailable
from authz.ledger.checkpoints import agree, check_growth
from authz.ledger.members import HASH
from authz.s3_bucket import Bucket

MAX_OBJECT: Final = 4096  # bytes

_Stored = tuple[int, bytes, str]  # size, root, ETag


class S3Checkpoints:
    """Raises EvidenceUnavailable, with bucket and key, whenever the server does not do its work; ConfigError
    for credentials that cannot be used.
    """

    def __init__(self, url: str, access: S3Access, state: Path) -> None:
        self._bucket = Bucket.at(s3_client.client(access, state), url, lambda what, code: _unavailable(what))

    def advance(self, log: str, size: int, root: bytes, *, expected: int) -> bool:
        """As `checkpoints.Checkpoints.advance`."""
        check_growth(log, size, expected)
        data = canonical.encode({"log": log, "root": root.hex(), "size": size})
        _parse(data, log)
        self._bucket.check_conditions(match=True)
        stored = self._read(log)
        if (stored[0] if stored else 0) == expected < size:
            etag = stored[2] if stored else ""
            if self._bucket.write(log, data, etag):
                return True
        return agree(log, size, root, self.latest(log))

    def latest(self, log: str) -> tuple[int, bytes] | None:
        """Size and root last signed for `log`, None if it never was."""
        stored = self._read(log)
        return stored[:2] if stored else None

    def logs(self, prefix: str) -> list[str]:
        """The logs whose names start with `prefix`, in the order of their names."""
        return self._bucket.names(prefix)

    def close(self) -> None:
        self._bucket.client.close()

    def _read(self, log: str) -> _Stored | None:
        found = self._bucket.read(log, MAX_OBJECT + 1)
        if found is None:
            return None
        try:
            return (*_parse(found[0], log), found[1])
        except ValueError as error:
            raise _unavailable(f"{self._bucket.place(log)}: {error}") from None


def _unavailable(what: str) -> EvidenceUnavailable:
    return EvidenceUnavailable(f"checkpoint store {what}")


def _parse(data: bytes, log: str) -> tuple[int, bytes]:
    """Raises ValueError unless `data` is a size and a root of `log`."""
    members: dict[str, Any] = canonical.parse(data)
    size, root = members.get("size"), members.get("root")
    if members.keys() != {"log", "root", "size"} or members["log"] != log:
        raise ValueError("not what was signed of this log")
    if type(size) is not int or size < 1 or type(root) is not str or not HASH.fullmatch(root):
        raise ValueError("not a size and a root")
    return size, bytes.fromhex(root)
