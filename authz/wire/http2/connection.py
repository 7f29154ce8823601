"""One HTTP/2 connection from its first byte to its last (RFC 9113), seen from the server.

    bytes --frames--> streams --whole requests--> `Takes.take`        answers --windows--> bytes

In: what the socket brings. Out: whole requests, and what is answered to them. Made by `server.py` for each
connection. Everything a peer could make us keep is bounded: streams, header blocks, bodies that are not
whole, and what it does not read. What breaks a rule ends its stream or the connection, with the code that the
RFC names, and touches no other one.
"""

from __future__ import annotations

import ssl
from collections import deque
from typing import Any, Final, Protocol

from authz.wire.http2 import frames
from authz.wire.http2.frames import Code, ConnectionFault, StreamFault
from authz.wire.http2.framing import Framing
from authz.wire.http2.heads import MAX_LIST, Heads
from authz.wire.http2.sending import Sender
from authz.wire.http2.stream import Stream

WINDOW: Final = 8 << 20  # bytes of DATA that may be under way
MAX_BUFFERED: Final = 128 << 20  # bytes of bodies that are not whole; what would be more is refused
MAX_UNREAD: Final = 1 << 20  # bytes of ours that a peer may leave unread; more, and it is not read either
MAX_SETTINGS: Final = 16  # frames read together
MAX_FORGOTTEN: Final = 1024  # streams that we ended and on which the peer may still send what was under way

_LAST_WORD: Final = b"the last"
_LAST_PING: Final = frames.frame(frames.PING, 0, 0, _LAST_WORD)


class Takes(Protocol):
    """What is done with requests; `largest` body, bytes."""

    largest: int
    streams: int

    def begin(self, connection: Connection, stream: Stream) -> None:
        """There is some of a body, or some more; it may be refused before the rest comes."""
        ...

    def take(self, connection: Connection, stream: Stream) -> None:
        """A request is whole. It is answered by `Connection.answer` or `end`, now or later."""
        ...

    def came(self, connection: Connection) -> None:
        """It can be asked and answered from now on."""
        ...

    def gone(self, connection: Connection) -> None:
        """Nothing can be sent any more."""
        ...


class Connection(Framing):
    """`takes` gets the requests."""

    def __init__(self, takes: Takes) -> None:
        super().__init__()
        self.streams: dict[int, Stream] = {}
        self.closing = False  # no new stream is taken any more
        self._takes = takes
        self._heads = Heads()
        self._forgotten: deque[int] = deque(maxlen=MAX_FORGOTTEN)
        self._room = WINDOW
        self._owed = 0  # bytes of it that were used up since the peer was told
        self._buffered = 0  # bytes received of all streams
        self._opened = False  # the peer takes more than it did, and has not been sent it
        self._settled = 0  # SETTINGS in what was read together: each may change the windows of all streams
        self._sender: Sender
        self._peer: bytes | None = None

    # -- the socket

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._sender = Sender(transport.write)
        self._takes.came(self)
        transport.set_write_buffer_limits(high=MAX_UNREAD)
        transport.write(
            frames.settings(
                {
                    frames.MAX_CONCURRENT_STREAMS: self._takes.streams,
                    frames.INITIAL_WINDOW_SIZE: self._takes.largest,
                    frames.MAX_HEADER_LIST_SIZE: MAX_LIST,
                }
            )
            + frames.window_update(0, WINDOW - frames.DEFAULT_WINDOW)
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        for stream in [*self.streams.values()]:
            self._drop(stream)
        self._takes.gone(self)  # it may hear it twice

    def pause_writing(self) -> None:
        """Who does not read our answers sends no questions, either."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def peer(self) -> bytes:
        """The certificate of the other side in PEM, empty without TLS."""
        if self._peer is None:
            tls = self._transport.get_extra_info("ssl_object")
            der = tls.getpeercert(binary_form=True) if tls else None
            self._peer = ssl.DER_cert_to_PEM_cert(der).encode() if der else b""
        return self._peer

    def close(self) -> None:
        """Ask the peer to go. What it sent before it knew is still answered (section 6.8); `closing` is said
        when it has answered our PING.
        """
        if not self._over:
            self._transport.write(frames.goaway(frames.STREAM_BITS, Code.NO_ERROR) + _LAST_PING)

    def _close(self) -> None:
        """Take no more streams; those under way are answered, and then it ends."""
        if not self.closing and not self._over:
            self.closing = True
            self._transport.write(frames.goaway(self._last, Code.NO_ERROR))
            self._end_if_done()

    def abort(self) -> None:
        """End it now."""
        self._over = True
        self._transport.abort()
        self.connection_lost(None)

    def _end_if_done(self) -> None:
        if self.closing and not self.streams and not self._over:
            self._over = True
            self._transport.close()

    # -- frames

    def _have_read(self) -> None:
        self._settled = 0
        if self._opened:
            self._opened = False
            self._flush()

    def _take_data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._room -= size
        if self._room < 0:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "more than the connection's window")
        self._give_back(size)
        stream = self.streams.get(number)
        if stream is None or stream.whole:
            if stream is None and self._was_ours(number):
                return
            raise StreamFault(number, Code.STREAM_CLOSED)
        stream.received += size
        self._buffered += size
        if stream.received > self._takes.largest:
            raise StreamFault(number, Code.FLOW_CONTROL_ERROR)
        if self._buffered > MAX_BUFFERED:
            raise StreamFault(number, Code.REFUSED_STREAM)
        if flags & frames.PADDED:
            payload = frames.unpadded(flags, payload)
        if not stream.body:
            stream.body = payload
        else:
            if isinstance(stream.body, bytes):
                stream.body = bytearray(stream.body)
            stream.body += payload
        if flags & frames.END_STREAM:
            self._complete(stream)
        else:
            self._takes.begin(self, stream)

    def _take_block(self, number: int, flags: int, block: bytes) -> None:
        head = self._heads.read(block)  # also of what is refused: both sides' tables have to stay the same
        stream = self.streams.get(number)
        if stream is not None:
            if stream.whole:
                raise StreamFault(number, Code.STREAM_CLOSED)
            if not flags & frames.END_STREAM or not head.trailers:
                raise StreamFault(number, Code.PROTOCOL_ERROR)
            self._complete(stream)
            return
        if number <= self._last:
            if self._was_ours(number):
                return
            raise ConnectionFault(Code.STREAM_CLOSED, f"HEADERS on stream {number}, which is closed")
        if self.closing:  # GOAWAY said that it will not be processed
            self._forgotten.append(number)
            return
        self._last = number
        if head.fault or head.trailers:
            raise StreamFault(number, Code.PROTOCOL_ERROR)
        if len(self.streams) >= self._takes.streams:
            raise StreamFault(number, Code.REFUSED_STREAM)
        self.streams[number] = stream = Stream(number, head, self._sender.initial_window)
        if flags & frames.END_STREAM:
            self._complete(stream)

    def _complete(self, stream: Stream) -> None:
        stream.whole = True
        self._buffered -= stream.received
        stream.received = 0
        if stream.head.length is not None and stream.head.length != len(stream.body):
            raise StreamFault(stream.number, Code.PROTOCOL_ERROR)
        self._takes.take(self, stream)

    def _take_priority(self, number: int, payload: bytes) -> None:
        if number == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            raise StreamFault(number, Code.FRAME_SIZE_ERROR)
        if int.from_bytes(payload[:4]) & frames.STREAM_BITS == number:
            raise StreamFault(number, Code.PROTOCOL_ERROR)

    def _take_reset(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "RST_STREAM: not four bytes")
        self._check_begun(number, "RST_STREAM")
        if stream := self.streams.get(number):
            stream.whole = True  # the peer knows
            self._drop(stream)

    def _take_settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "SETTINGS: an acknowledgement with content")
            return
        self._settled += 1
        if self._settled > MAX_SETTINGS:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, f"more than {MAX_SETTINGS} SETTINGS at once")
        self._sender.settle(frames.read_settings(payload), self.streams.values())
        self._transport.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._opened = True

    def _take_ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "PING: not eight bytes")
        if not flags & frames.ACK:
            self._transport.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif payload == _LAST_WORD:
            self._close()

    def _take_goaway(self, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "GOAWAY on a stream")
        self._close()

    def _take_window_update(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "WINDOW_UPDATE: not four bytes")
        more = int.from_bytes(payload) & frames.STREAM_BITS
        if number == 0:
            self._sender.open(more)
        else:
            self._check_begun(number, "WINDOW_UPDATE")
            stream = self.streams.get(number)
            if stream is None:
                return
            self._sender.open_stream(stream, more)
        self._opened = True

    def _check_begun(self, number: int, name: str) -> None:
        if number == 0 or (number > self._last and number not in self._forgotten):
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"{name} on stream {number}, which never began")

    def _was_ours(self, number: int) -> bool:
        """Whether we ended this stream, so that the peer may not have known. Raises ConnectionFault for one
        that never began.
        """
        self._check_begun(number, "DATA")
        return number in self._forgotten

    # -- answers

    def answer(self, stream: Stream, head: bytes, body: bytes, trailers: bytes) -> None:
        """Send header block, body and the block of trailers, as the windows allow. What the caller did not
        wait for goes nowhere.
        """
        if self._lives(stream) and self._sender.answer(stream, head, body, trailers):
            self._done(stream)

    def send(self, stream: Stream, head: bytes, body: bytes) -> None:
        """The header block, if there is one (it comes first), and a part of the body."""
        if self._lives(stream):
            self._sender.send(stream, head, body)

    def end(self, stream: Stream, trailers: bytes) -> None:
        """The last header block."""
        if self._lives(stream) and self._sender.end(stream, trailers):
            self._done(stream)

    def _lives(self, stream: Stream) -> bool:
        return not self._over and self.streams.get(stream.number) is stream

    def _flush(self) -> None:
        for stream in [*self.streams.values()]:
            if stream.pending and self._sender.flush(stream):
                self._done(stream)

    def _done(self, stream: Stream) -> None:
        """The answer is on its way. A caller that still sends is told not to."""
        stream.cancel = None
        if not stream.whole:
            self._transport.write(frames.reset(stream.number, Code.NO_ERROR))
        self._drop(stream)

    def _reset(self, fault: StreamFault) -> None:
        self._transport.write(frames.reset(fault.stream, fault.code))
        if stream := self.streams.get(fault.stream):
            self._drop(stream)
        else:
            self._forgotten.append(fault.stream)

    def _drop(self, stream: Stream) -> None:
        """Nothing more is sent on this stream, and nothing of it matters any more. A peer that has not sent
        all may not know yet.
        """
        if self.streams.pop(stream.number, None) is None:
            return
        if not stream.whole:
            self._forgotten.append(stream.number)
        self._buffered -= stream.received
        if stream.cancel:
            stream.cancel()
        self._end_if_done()

    def _give_back(self, size: int) -> None:
        """These bytes are used up; the peer is told when half of the window is."""
        self._owed += size
        if self._owed >= WINDOW // 2 and not self._over:
            self._transport.write(frames.window_update(0, self._owed))
            self._room += self._owed
            self._owed = 0
