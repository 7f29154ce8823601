"""One HTTP request to the one address that the settings name: bounded in time and size.

In: a URL, what to send, how much to read. Out: the answer's status, headers and body, or Unanswered. Called
on threads of their own by whoever asks somebody outside: the issuer of agents' keys, witnesses, time-stamping
authorities. It must never follow a redirect, use a proxy from the environment, read more than it was told to,
or repeat a byte of what was answered in an error: whoever answers may not be who was meant.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from email.message import Message
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult

from authz.errors import KeyUnusable


class Unanswered(Exception):
    """No whole answer came. The text begins with the URL."""


class Answer(NamedTuple):
    """`body` is empty for a status that was not worth reading."""

    status: int
    headers: Message
    body: bytes


def trust(authorities: Path | None) -> ssl.SSLContext:
    """TLS with whom these CAs (PEM), or the system's, have signed for. Raises KeyUnusable."""
    try:
        context = ssl.create_default_context(cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        raise KeyUnusable(f"{authorities}: {error.strerror or 'not certificates in PEM'}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def request(
    url: SplitResult,
    *,
    most: int,
    timeout_s: float,
    tls: ssl.SSLContext | None,
    headers: Mapping[str, str],
    post: bytes | None = None,
    read: Collection[int] = (200,),
) -> Answer:
    """GET, or POST of `post`. `timeout_s` bounds each step and all that follows the connection together;
    `most` is of the body, in bytes, which is read for the statuses `read` only. Raises Unanswered.
    """
    connection = _connection(url, timeout_s, tls)
    watchdog = threading.Timer(timeout_s, _break, (connection,))
    watchdog.daemon = True
    try:
        connection.connect()
        watchdog.start()
        method = "GET" if post is None else "POST"
        connection.request(method, _target(url), body=post, headers={"User-Agent": "aegis", **headers})
        return _read(connection.getresponse(), most, read)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unanswered(f"{url.geturl()}: {_said(error)}") from None
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


def _read(answer: http.client.HTTPResponse, most: int, read: Collection[int]) -> Answer:
    """Raises ValueError."""
    if answer.status not in read:
        return Answer(answer.status, answer.headers, b"")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise ValueError("an encoding that was not asked for")
    body = answer.read(most + 1)
    if len(body) > most:
        raise ValueError(f"over {most} bytes")
    if answer.length:
        raise ValueError("an answer that ends before its end")
    return Answer(answer.status, answer.headers, body)


def _said(error: Exception) -> str:
    """What went wrong, without a byte of what was answered."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate: {error.verify_message}"
    if isinstance(error, http.client.HTTPException):
        return f"not an HTTP answer that can be read ({type(error).__name__})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
