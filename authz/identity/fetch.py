"""One GET of a key set over HTTP: bounded in time and size, to the one address that the settings name.

In: the URL, the ETag of what is known. Out: the answer's body, or that nothing changed. Called by `jwks.py`
in its own thread. It must never follow a redirect, use a proxy from the environment, or read more than it
needs: whoever answers here decides who is believed.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import SplitResult

from authz.errors import KeyUnusable
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
    connection = _connection(url, timeout_s, tls)
    watchdog = threading.Timer(timeout_s, _break, (connection,))
    watchdog.daemon = True
    try:
        connection.connect()
        watchdog.start()
        connection.request("GET", _target(url), headers=_headers(etag))
        return _read(connection.getresponse(), etag)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise KeyUnusable(f"{url.geturl()}: {_said(error)}") from None
    finally:
        watchdog.cancel()
        connection.close()


def _connection(url: SplitResult, timeout_s: float, tls: ssl.SSLContext | None) -> http.client.HTTPConnection:
    host = url.hostname or ""
    if url.scheme == "http":
        return http.client.HTTPConnection(host, url.port or 80, timeout=timeout_s)
    return http.client.HTTPSConnection(host, url.port or 443, timeout=timeout_s, context=tls)


def _break(connection: http.client.HTTPConnection) -> None:
    """End a connection from another thread: what reads from it finds its end."""
    with suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def _target(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _headers(etag: str) -> dict[str, str]:
    headers = {"Accept": "application/jwk-set+json, application/json", "User-Agent": "aegis"}
    return headers | ({"If-None-Match": etag} if etag else {})


def _read(answer: http.client.HTTPResponse, etag: str) -> Fetched:
    """Raises ValueError."""
    max_age = _max_age(answer.headers.get("Cache-Control", ""), answer.headers.get("Age", ""))
    if answer.status == 304 and etag:
        return Fetched(None, etag, max_age)
    if 300 <= answer.status < 400:
        raise ValueError(f"HTTP status {answer.status}: redirects are not followed")
    if answer.status != 200:
        raise ValueError(f"HTTP status {answer.status}")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise ValueError("an encoding that was not asked for")
    body = answer.read(MAX_FILE_BYTES + 1)
    if len(body) > MAX_FILE_BYTES:
        raise ValueError(f"over {MAX_FILE_BYTES} bytes")
    if answer.length:
        raise ValueError("an answer that ends before its end")
    found = answer.headers.get("ETag", "")
    good = len(found) <= MAX_ETAG and _ETAG.fullmatch(found)
    return Fetched(body, found if good else "", max_age)


def _max_age(control: str, age: str) -> float | None:
    """Seconds for which the answer may be used without asking again (RFC 9111 section 5.2.2)."""
    if _NO_CACHE.search(control):
        return 0.0
    found = _MAX_AGE.search(control)
    if found is None:
        return None
    spent = int(age) if age.isascii() and age.isdigit() and len(age) < 10 else 0
    return float(max(0, int(found[1]) - spent))


def _said(error: Exception) -> str:
    """What went wrong, without a byte of what was answered."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate: {error.verify_message}"
    if isinstance(error, http.client.HTTPException):
        return f"not an HTTP answer that can be read ({type(error).__name__})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
