"""Where the largest size and root ever signed are kept (`ledger/checkpoint_store.py`), as a setting says it.

checkpoints.sqlite                                   a file, relative to `state`
postgresql://USER@HOST/DATABASE?sslmode=verify-full  a row for each log
s3://BUCKET/PREFIX                                   an object for each log
"""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._/-]{0,255})?")
_LOOPBACK: Final = re.compile(r"|localhost|127(?:\.[0-9]{1,3}){3}|::1")  # nothing: libpq's Unix socket
_VERIFIED: Final = ("verify-ca", "verify-full")
POSTGRESQL: Final = "postgresql"
S3: Final = "s3"


def _check(text: str) -> str:
    if "://" not in text:
        if not text or not text.isprintable():
            raise ValueError("not the name of a file")
        return text
    url = urlsplit(text)
    if url.scheme == POSTGRESQL:
        _check_postgresql(text)
    elif url.scheme != S3:
        raise ValueError("not a file, postgresql:// or s3://")
    else:
        s3_url(text)
    return text


def s3_url(text: str) -> str:
    """Raises ValueError unless it names a bucket and perhaps a prefix."""
    url = urlsplit(text)
    sound = _BUCKET.fullmatch(url.netloc) and _PREFIX.fullmatch(url.path)
    if url.scheme != S3 or not sound or url.query or url.fragment:
        raise ValueError("not s3://BUCKET/PREFIX")
    return text


def _check_postgresql(text: str) -> None:
    url = urlsplit(text)
    _ = url.port  # raises ValueError beyond 65535
    asked = parse_qs(url.query)
    if url.password is not None or "password" in asked:
        raise ValueError("a password in the settings: name a file in PGPASSFILE")
    if not re.fullmatch(r"/[A-Za-z0-9_-]{1,63}", url.path) or url.fragment:
        raise ValueError("not postgresql://USER@HOST/DATABASE")
    host = asked.get("host", [url.hostname or ""])[-1]
    near = host.startswith("/") or _LOOPBACK.fullmatch(host)
    if not near and asked.get("sslmode", [""])[-1] not in _VERIFIED:
        raise ValueError("another machine needs sslmode=verify-full: whoever answers decides what was signed")


Store = Annotated[str, AfterValidator(_check)]
