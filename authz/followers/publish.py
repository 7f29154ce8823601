"""Publishes logs over HTTP, for reading only: `aegis log serve`.

    GET /                               the names of the logs, one a line
    GET /<log>/checkpoint               never kept by a cache
    GET /<log>/tile/...                 kept for as long as caches like: it never changes

In: requests of anybody. Out: what `Published` has by that name, or 404, 405, 500, 503. It knows no key that
signs and writes nothing.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from typing import Any, Final

import structlog

from authz.errors import IntegrityViolation
from authz.followers.published import NotPublished, Published, Resource
from authz.http_server import Application, chunks
from authz.ledger.report import plain

log = structlog.get_logger(__name__)

MAX_CONNECTIONS: Final = 64
PATIENCE_S: Final = 5.0  # that one more waits for its turn
FIXED: Final = "public, max-age=31536000, immutable"
CHANGING: Final = "no-cache"
TEXT: Final = "text/plain; charset=utf-8"
BYTES: Final = "application/octet-stream"
GZIP_FROM: Final = 1024  # bytes; hashes do not shrink, entries do
GZIP_LEVEL: Final = 1

_Headers = list[tuple[str, str]]


def application(published: Published) -> Application:
    """The WSGI application that `http_server` serves."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method = environ.get("REQUEST_METHOD", "")
        if method not in ("GET", "HEAD"):
            status, headers, body = _said(
                "405 Method Not Allowed", "for reading only", [("Allow", "GET, HEAD")]
            )
        else:
            status, headers, body = _answer(published, environ)
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return [] if method == "HEAD" else chunks(body)

    return answer


def _answer(published: Published, environ: dict[str, Any]) -> tuple[str, _Headers, bytes]:
    path = environ.get("PATH_INFO", "")
    try:
        if path == "/":
            names = "".join(f"{name}\n" for name in published.logs()).encode()
            return "200 OK", _headers(Resource(names, fixed=False, text=True)), names
        name = path[1:].encode("latin-1").decode()  # WSGI's way of passing bytes
        found = published.get(name)
    except (NotPublished, UnicodeDecodeError):
        return _said("404 Not Found", "nothing of this name is published")
    except IntegrityViolation as violation:
        log.critical("integrity_violation", what=plain(str(violation)))
        return _said("500 Internal Server Error", "stored entries are not what was signed")
    except OSError as error:
        log.error("publish_failed", error=str(error))  # noqa: TRY400 - where is in the text
        return _said("503 Service Unavailable", "the ledger cannot be read")
    if "/tile/entries/" not in path or len(found.body) < GZIP_FROM:
        return "200 OK", _headers(found), found.body
    vary = [("Vary", "Accept-Encoding")]
    if "gzip" not in environ.get("HTTP_ACCEPT_ENCODING", ""):
        return "200 OK", _headers(found) + vary, found.body
    packed = gzip.compress(found.body, GZIP_LEVEL, mtime=0)
    return "200 OK", _headers(found) + vary + [("Content-Encoding", "gzip")], packed


def _headers(found: Resource) -> _Headers:
    return [
        ("Content-Type", TEXT if found.text else BYTES),
        ("Cache-Control", FIXED if found.fixed else CHANGING),
        ("X-Content-Type-Options", "nosniff"),
    ]


def _said(status: str, what: str, more: _Headers | None = None) -> tuple[str, _Headers, bytes]:
    return status, [("Content-Type", TEXT), ("Cache-Control", CHANGING), *(more or [])], f"{what}\n".encode()
