"""The frames of one connection, out of bytes that come in any pieces (RFC 9113 sections 3.4, 4 and 5.5).

    preface, SETTINGS, frames ...  -->  one method for each type, header blocks whole

In: what the socket brings. Out: calls of the `_take_...` methods, which `connection.py` has. What breaks a
rule of the connection is answered by GOAWAY and a close, a stream by RST_STREAM.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Final

import structlog

from authz.wire.http2 import frames
from authz.wire.http2.frames import Code, ConnectionFault, StreamFault

log = structlog.get_logger(__name__)

MAX_BLOCK: Final = 32_768  # bytes of a header block over all its frames


class Framing(asyncio.Protocol):
    """What is common to every connection: `_over` ends it."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._last = 0  # the highest stream of the peer
        self._over = False  # nothing is read or sent any more
        self._rest = b""
        self._started = self._greeted = False  # the preface, the first SETTINGS were there
        self._block: tuple[int, int, bytes] | None = None  # stream, flags, what there is of a header block

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        if self._rest:
            data = self._rest + data
        try:
            self._rest = data[self._read(data) :]
            self._have_read()
        except ConnectionFault as fault:
            log.warning("http2_connection_refused", code=fault.code.name, what=str(fault))
            self._over = True
            self._transport.write(frames.goaway(self._last, fault.code, str(fault)))
            self._transport.close()

    def _read(self, data: bytes) -> int:
        """Take the whole frames in `data`; the place behind them. Raises ConnectionFault."""
        at = 0
        if not self._started:
            if not frames.PREFACE.startswith(data[: len(frames.PREFACE)]):
                raise ConnectionFault(Code.PROTOCOL_ERROR, "not the preface of HTTP/2")
            if len(data) < len(frames.PREFACE):
                return 0
            at, self._started = len(frames.PREFACE), True
        size, unpack = len(data), frames.HEADER.unpack_from
        while size - at >= frames.HEADER_BYTES:
            word, flags, number = unpack(data, at)
            length, kind = word >> 8, word & 0xFF
            if length > frames.MAX_FRAME:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            end = at + frames.HEADER_BYTES + length
            if end > size:
                break
            payload = data[at + frames.HEADER_BYTES : end]
            at = end
            try:
                self._take(kind, flags, number & frames.STREAM_BITS, payload)
            except StreamFault as fault:
                self._reset(fault)
            if self._over:
                break
        return at

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block is not None and (kind != frames.CONTINUATION or number != self._block[0]):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a header block is not whole")
        if not self._greeted:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._greeted = True
        if kind == frames.DATA:
            self._take_data(flags, number, payload)
        elif kind == frames.HEADERS:
            self._take_headers(flags, number, payload)
        elif kind <= frames.CONTINUATION:
            self._take_other(kind, flags, number, payload)
        # Frames of types that are not known are passed over (section 5.5).

    def _take_other(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """The types that are not on the way of every request."""
        if kind == frames.CONTINUATION:
            self._take_continuation(flags, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._take_window_update(number, payload)
        elif kind == frames.RST_STREAM:
            self._take_reset(number, payload)
        elif kind == frames.PING:
            self._take_ping(flags, number, payload)
        elif kind == frames.SETTINGS:
            self._take_settings(flags, number, payload)
        elif kind == frames.PRIORITY:
            self._take_priority(number, payload)
        elif kind == frames.GOAWAY:
            self._take_goaway(number, payload)
        else:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PUSH_PROMISE from a client")

    def _take_headers(self, flags: int, number: int, payload: bytes) -> None:
        if not number & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"HEADERS on stream {number}")
        payload = frames.unpadded(flags, payload)
        itself = False
        if flags & frames.WITH_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "HEADERS: too short for its priority")
            itself = int.from_bytes(payload[:4]) & frames.STREAM_BITS == number
            payload = payload[5:]
        if not flags & frames.END_HEADERS:
            self._block = number, flags, payload
        else:
            self._take_block(number, flags, payload)
        if itself:
            raise StreamFault(number, Code.PROTOCOL_ERROR)

    def _take_continuation(self, flags: int, payload: bytes) -> None:
        if self._block is None:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "CONTINUATION of nothing")
        number, first, block = self._block
        block += payload
        if len(block) > MAX_BLOCK:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, f"a header block of more than {MAX_BLOCK} bytes")
        self._block = number, first, block
        if flags & frames.END_HEADERS:
            self._block = None
            self._take_block(number, first, block)

    @abstractmethod
    def _have_read(self) -> None:
        """All frames that were there have been taken."""

    @abstractmethod
    def _take_block(self, number: int, flags: int, block: bytes) -> None: ...
    @abstractmethod
    def _take_data(self, flags: int, number: int, payload: bytes) -> None: ...
    @abstractmethod
    def _take_priority(self, number: int, payload: bytes) -> None: ...
    @abstractmethod
    def _take_reset(self, number: int, payload: bytes) -> None: ...
    @abstractmethod
    def _take_settings(self, flags: int, number: int, payload: bytes) -> None: ...
    @abstractmethod
    def _take_ping(self, flags: int, number: int, payload: bytes) -> None: ...
    @abstractmethod
    def _take_goaway(self, number: int, payload: bytes) -> None: ...
    @abstractmethod
    def _take_window_update(self, number: int, payload: bytes) -> None: ...
    @abstractmethod
    def _reset(self, fault: StreamFault) -> None: ...
