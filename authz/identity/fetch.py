"""One GET of a key set: the answer's body, or that nothing changed, and how long it may be used.

In: the URL, the ETag of what is known. Out: a Fetched. Called by `jwks.py` in its own thread. Whoever answers
here decides who is believed, so anything but a whole answer is an error.
"""

from __future__ import annotations

import re
import ssl
from typing import Final, NamedTuple
from urllib.parse import SplitResult

from authz import http_client
from authz.errors import KeyUnusable
from authz.http_client import Answer, Unanswered
from authz.identity.keyset import MAX_FILE_BYTES

MAX_ETAG: Final = 256
_ETAG: Final = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')
_MAX_AGE: Final = re.compile(r"(?:\A|,)\s*max-age=\"?([0-9]{1,9})\"?\s*(?:,|\Z)", re.IGNORECASE)
_NO_CACHE: Final = re.compile(r"(?:\A|,)\s*no-(?:store|cache)\s*(?:,|\Z)", re.IGNORECASE)


class Fetched(NamedTuple):
    """`body` is None when nothing changed (304); `max_age_s` None when the answer does not say."""

    body: bytes | None
    etag: str
    max_age_s: float | None


def fetch(url: SplitResult, etag: str, timeout_s: float, tls: ssl.SSLContext | None) -> Fetched:
    """`timeout_s` bounds each step and all that follows the connection together.

    Raises KeyUnusable, naming the URL, for whatever is not a whole answer of status 200, or 304 to `etag`.
    """
    headers = {"Accept": "application/jwk-set+json, application/json"}
    headers |= {"If-None-Match": etag} if etag else {}
    try:
        answer = http_client.request(url, most=MAX_FILE_BYTES, timeout_s=timeout_s, tls=tls, headers=headers)
        return _read(answer, etag)
    except Unanswered as error:
        raise KeyUnusable(str(error)) from None
    except ValueError as error:
        raise KeyUnusable(f"{url.geturl()}: {error}") from None


def _read(answer: Answer, etag: str) -> Fetched:
    """Raises ValueError."""
    max_age = _max_age(answer.headers.get("Cache-Control", ""), answer.headers.get("Age", ""))
    if answer.status == 304 and etag:
        return Fetched(None, etag, max_age)
    if 300 <= answer.status < 400:
        raise ValueError(f"HTTP status {answer.status}: redirects are not followed")
    if answer.status != 200:
        raise ValueError(f"HTTP status {answer.status}")
    found = answer.headers.get("ETag", "")
    good = len(found) <= MAX_ETAG and _ETAG.fullmatch(found)
    return Fetched(answer.body, found if good else "", max_age)


def _max_age(control: str, age: str) -> float | None:
    """Seconds for which the answer may be used without asking again (RFC 9111 section 5.2.2)."""
    if _NO_CACHE.search(control):
        return 0.0
    found = _MAX_AGE.search(control)
    if found is None:
        return None
    spent = int(age) if age.isascii() and age.isdigit() and len(age) < 10 else 0
    return float(max(0, int(found[1]) - spent))
