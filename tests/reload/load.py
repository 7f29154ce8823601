"""Requests at a steady rate to a worker's own gRPC, from a process of its own, until SIGTERM.

    python -m tests.reload.load SOCKET TOKEN --rate 1000

Every second request is one that was asked before, the others are new. Prints one JSON object: `sent`, answers
by kind (`allow`, `deny`, `failed`), latency in milliseconds counted from when each request was due. It speaks
HTTP/2 itself, since grpcio's client takes more of the machine than the worker that is to be loaded.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections import Counter

import uvloop
from hpack import Decoder, Encoder

from authz._pb.aegis_ext_authz_pb2 import CheckResponse
from authz.up.traffic import EHR
from authz.wire.http2 import frames
from authz.wire.server import SERVICE
from benchmarks.load import percentiles
from tests.worker import message

KNOWN = 8  # paths that are asked again and again
HOST = EHR.removeprefix("http://")
PATIENCE_S = 10.0  # for the last answers
CONNECTIONS = 4
PREFIX_BYTES = 5  # of gRPC's before a message
HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", f"/{SERVICE}/Check"),
    (":authority", "aegis"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("grpc-timeout", "5S"),
]


class Connection(asyncio.Protocol):
    """Asks on one stream after another; `ended(kind, due)` is told of each answer."""

    def __init__(self, load: Load) -> None:
        self._load, self._decoder = load, Decoder()
        self._transport: asyncio.Transport
        self._rest, self._stream = b"", -1
        self._window = frames.DEFAULT_WINDOW  # what the server takes of our bodies, now
        self._waiting: list[tuple[bytes, float]] = []
        self._under_way: dict[int, tuple[float, bytes]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        wide = frames.settings({frames.INITIAL_WINDOW_SIZE: frames.MAX_WINDOW, frames.HEADER_TABLE_SIZE: 0})
        more = frames.window_update(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW)
        self._transport.write(frames.PREFACE + wide + more)

    def ask(self, body: bytes, due: float) -> None:
        if len(body) > self._window:
            self._waiting.append((body, due))
            return
        self._window -= len(body)
        self._stream += 2
        self._under_way[self._stream] = (due, b"")
        head = frames.frame(frames.HEADERS, frames.END_HEADERS, self._stream, self._load.head)
        self._transport.write(head + frames.frame(frames.DATA, frames.END_STREAM, self._stream, body))

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        place = 0
        while len(data) - place >= frames.HEADER_BYTES:
            word, flags, stream = frames.HEADER.unpack_from(data, place)
            end = place + frames.HEADER_BYTES + (word >> 8)
            if len(data) < end:
                break
            self._take(word & 0xFF, flags, stream, data[place + frames.HEADER_BYTES : end])
            place = end
        self._rest = data[place:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == frames.DATA:
            due, before = self._under_way[stream]
            self._under_way[stream] = (due, before + payload)
        elif kind == frames.HEADERS:
            said = dict(self._decoder.decode(payload))
            if flags & frames.END_STREAM:
                self._end(stream, said.get("grpc-status") == "0")
        elif kind in (frames.RST_STREAM, frames.GOAWAY):
            self._end(stream, False)
        elif kind in (frames.SETTINGS, frames.PING) and not flags & frames.ACK:
            answer = payload if kind == frames.PING else b""
            self._transport.write(frames.frame(kind, frames.ACK, 0, answer))
        elif kind == frames.WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload)
            waiting, self._waiting = self._waiting, []
            for body, due in waiting:
                self.ask(body, due)

    def _end(self, stream: int, good: bool) -> None:
        due, body = self._under_way.pop(stream, (0.0, b""))
        allowed = good and CheckResponse.FromString(body[PREFIX_BYTES:]).status.code == 0
        self._load.ended(("allow" if allowed else "deny") if good else "failed", due)

    def connection_lost(self, exc: Exception | None) -> None:
        for stream in [*self._under_way]:
            self._end(stream, False)


class Load:
    """`answers` by what they were."""

    def __init__(self, token: str) -> None:
        self.answers: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.head = Encoder().encode([(name, value) for name, value in HEADERS])
        self._token = token
        self._known = [self._asked(f"/patients/{number}") for number in range(KNOWN)]

    def _asked(self, path: str) -> bytes:
        asked = message(token=self._token, path=path, host=HOST, scheme="http").SerializeToString()
        return b"\0" + len(asked).to_bytes(4) + asked

    def ended(self, kind: str, due: float) -> None:
        self.answers[kind] += 1
        self.latencies.append(time.perf_counter() - due)

    async def run(self, socket: str, rate: float, stop: asyncio.Event) -> int:
        """Until `stop`; how many were sent, all of which have ended or are late."""
        loop = asyncio.get_running_loop()
        made = [
            (await loop.create_unix_connection(lambda: Connection(self), socket))[1]
            for _ in range(CONNECTIONS)
        ]
        started, sent = time.perf_counter(), 0
        while not stop.is_set():
            while (due := started + sent / rate) <= time.perf_counter():
                known = self._known[sent // 2 % KNOWN]
                body = self._asked(f"/patients/{KNOWN + sent}") if sent % 2 else known
                made[sent % CONNECTIONS].ask(body, due)
                sent += 1
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        until = time.perf_counter() + PATIENCE_S
        while len(self.latencies) < sent and time.perf_counter() < until:
            await asyncio.sleep(0.05)
        return sent


async def play(socket: str, token: str, rate: float) -> None:
    stop, load = asyncio.Event(), Load(token)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    sent = await load.run(socket, rate, stop)
    print(json.dumps({"sent": sent, "answers": load.answers, "latency_ms": percentiles(load.latencies)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("socket")
    parser.add_argument("token")
    parser.add_argument("--rate", type=float, required=True)
    options = parser.parse_args()
    uvloop.run(play(options.socket, options.token, options.rate))
