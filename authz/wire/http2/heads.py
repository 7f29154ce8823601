"""Header blocks of requests: HPACK (RFC 7541) by the `hpack` package, and what gRPC needs to know of them.

    block, dynamic table --> Head                     the same block under the same table is the same Head

In: whole header blocks of one connection, in order. Out: Heads. Called by `connection.py`. A caller that
sends the same few headers again and again sends the same few bytes, which change no table: such a block is
read once. A request that breaks section 8 of RFC 9113 has a Head that says so, since its stream alone is at
fault.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from hpack import Decoder, HPACKError
from hpack.table import HeaderTable
from msgspec import Struct

from authz.wire.http2.frames import Code, ConnectionFault

MAX_LIST: Final = 16_384  # bytes of one request's headers, as section 6.5.2 counts them
MAX_KEPT: Final = 64  # blocks
_PSEUDO: Final = frozenset((b":method", b":scheme", b":path", b":authority"))
_REQUIRED: Final = (b":method", b":scheme", b":path")
_OF_THE_CONNECTION: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_UNITS: Final = {
    "H": 3600.0,
    "M": 60.0,
    "S": 1.0,
    "m": 1e-3,
    "u": 1e-6,
    "n": 1e-9,
}  # gRPC over HTTP/2, Timeout
_MOST_DIGITS: Final = 8


class Head(Struct, frozen=True):
    """`timeout_s` is None where the caller waits for ever, `length` where it did not say how much it sends;
    `fault` what RFC 9113 forbids, "" for nothing; `trailers`: there are no pseudo-headers.
    """

    method: str = ""
    path: str = ""
    content_type: str = ""
    traceparent: str = ""
    timeout_s: float | None = None
    length: int | None = None
    fault: str = ""
    trailers: bool = False


class _Table(HeaderTable):
    """Counts what is added: a block that adds nothing can be read from memory the next time."""

    added = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.added += 1
        super().add(name, value)


class Heads:
    """The header blocks of one connection."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=MAX_LIST)
        self._table = self._decoder.header_table = _Table()
        self._kept: dict[bytes, Head] = {}
        self._kept_at = 0

    def read(self, block: bytes) -> Head:
        """Raises ConnectionFault: what cannot be decompressed leaves both sides with other tables."""
        table = self._table
        if self._kept_at != table.added:
            self._kept.clear()
            self._kept_at = table.added
        found = self._kept.get(block)
        if found is not None:
            return found
        resizes = block[:1] and block[0] >> 5 == 1  # RFC 7541 section 6.3: it comes first, and may evict
        try:
            head = _head(self._decoder.decode(block, raw=True))
        except HPACKError as error:
            raise ConnectionFault(Code.COMPRESSION_ERROR, f"HPACK: {type(error).__name__}") from None
        if resizes:
            self._kept.clear()
        elif table.added == self._kept_at and len(self._kept) < MAX_KEPT:
            self._kept[block] = head
        return head


def _head(headers: Iterable[Any]) -> Head:
    """What the (name, value) pairs, both bytes, say."""
    pseudo: dict[bytes, bytes] = {}
    named: dict[bytes, bytes] = {}
    for name, value in headers:
        if name[:1] == b":":
            if named or name in pseudo or name not in _PSEUDO:
                return Head(fault=f"pseudo-header {name!r}")
            pseudo[name] = value
        elif name != name.lower() or not name or name in _OF_THE_CONNECTION or (name, value) == (b"te", b""):
            return Head(fault=f"header {name!r}")
        elif name == b"te" and value != b"trailers":
            return Head(fault="te")
        else:
            named[name] = value
    if not pseudo:
        return Head(trailers=True)
    if any(not pseudo.get(name) for name in _REQUIRED):
        return Head(fault="a pseudo-header is missing")
    length = named.get(b"content-length", b"")
    if length and not (length.isdigit() and len(length) < 19):
        return Head(fault="content-length")

    def text(name: bytes) -> str:
        return named.get(name, b"").decode("latin-1")

    return Head(
        method=pseudo[b":method"].decode("latin-1"),
        path=pseudo[b":path"].decode("latin-1"),
        content_type=text(b"content-type"),
        traceparent=text(b"traceparent"),
        timeout_s=_timeout(text(b"grpc-timeout")),
        length=int(length) if length else None,
    )


def _timeout(text: str) -> float | None:
    """Seconds; what is no Timeout of gRPC's is none."""
    digits, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not digits.isdecimal() or len(digits) > _MOST_DIGITS:
        return None
    return int(digits) * _UNITS[unit]
