"""What we may send on a connection, and when (RFC 9113 sections 5.2 and 6.9): the peer's windows.

In: answers, the peer's settings and window updates. Out: bytes to the socket, as far as the windows allow;
the rest waits on its Stream. Used by `connection.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from authz.wire.http2 import frames
from authz.wire.http2.frames import Code, ConnectionFault, StreamFault
from authz.wire.http2.stream import Stream


class Sender:
    """`write` takes bytes. What a method returns is whether the stream has been sent all it will be."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._window = frames.DEFAULT_WINDOW
        self.initial_window = frames.DEFAULT_WINDOW
        self._max_frame = frames.MAX_FRAME

    def answer(self, stream: Stream, head: bytes, body: bytes, trailers: bytes) -> bool:
        """Header block, body and the block of trailers, in one piece if they fit."""
        size = len(body)
        if stream.pending or size > stream.window or size > self._window or size > self._max_frame:
            self.send(stream, head, body)
            return self.end(stream, trailers)
        self._window -= size
        pack, number = frames.HEADER.pack, stream.number
        self._write(
            b"".join(
                (
                    pack(len(head) << 8 | frames.HEADERS, frames.END_HEADERS, number),
                    head,
                    pack(size << 8, 0, number),
                    body,
                    pack(len(trailers) << 8 | frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, number),
                    trailers,
                )
            )
        )
        return True

    def send(self, stream: Stream, head: bytes, body: bytes) -> bool:
        """The header block, if there is one (it comes first), and a part of the body."""
        if head:
            block = frames.frame(frames.HEADERS, frames.END_HEADERS, stream.number, head)
            stream.pending.append((block, False))
        if body:
            stream.pending.append((body, True))
        return self.flush(stream)

    def end(self, stream: Stream, trailers: bytes) -> bool:
        """The last header block."""
        flags = frames.END_HEADERS | frames.END_STREAM
        stream.pending.append((frames.frame(frames.HEADERS, flags, stream.number, trailers), False))
        stream.ends = True
        return self.flush(stream)

    def flush(self, stream: Stream) -> bool:
        """Send what waits, as far as it may go now."""
        pending = stream.pending
        while pending:
            data, windowed = pending[0]
            if windowed:
                size = min(len(data), stream.window, self._window, self._max_frame)
                if size <= 0:
                    return False
                self._window -= size
                stream.window -= size
                self._write(frames.frame(frames.DATA, 0, stream.number, data[:size]))
                if size < len(data):
                    pending[0] = data[size:], True
                    continue
            else:
                self._write(data)
            pending.popleft()
        return stream.ends

    def settle(self, settings: Iterable[tuple[int, int]], streams: Iterable[Stream]) -> None:
        """The peer's settings, which also change the windows of its `streams`. Of each only the last counts.
        Raises ConnectionFault.
        """
        for name, value in dict(settings).items():
            if name == frames.INITIAL_WINDOW_SIZE:
                for stream in streams:
                    stream.window += value - self.initial_window
                    if stream.window > frames.MAX_WINDOW:
                        raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "SETTINGS: a window grew too large")
                self.initial_window = value
            elif name == frames.MAX_FRAME_SIZE:
                self._max_frame = value

    def open(self, more: int) -> None:
        """The connection's window grows. Raises ConnectionFault."""
        self._window += more
        if not more or self._window > frames.MAX_WINDOW:
            code = Code.FLOW_CONTROL_ERROR if more else Code.PROTOCOL_ERROR
            raise ConnectionFault(code, f"WINDOW_UPDATE by {more}")

    def open_stream(self, stream: Stream, more: int) -> None:
        """One stream's window grows. Raises StreamFault."""
        stream.window += more
        if not more or stream.window > frames.MAX_WINDOW:
            code = Code.FLOW_CONTROL_ERROR if more else Code.PROTOCOL_ERROR
            raise StreamFault(stream.number, code)
