"""Requests at a steady rate to a worker's own gRPC, from a process of its own, until SIGTERM.

    python -m tests.reload.load SOCKET TOKEN --rate 1000

Every second request is one that was asked before, the others are new. Prints one JSON object: `sent`, answers
by kind (`allow`, `deny`, or the gRPC status of a call that failed), latency in milliseconds counted from when
each request was due.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections import Counter

import grpc
import uvloop

from authz.up.traffic import EHR
from authz.wire.server import SERVICE
from benchmarks.load import percentiles
from tests.worker import message, read_answer

KNOWN = 40  # paths that are asked again and again
HOST = EHR.removeprefix("http://")
PATIENCE_S = 5.0


class Load:
    """`answers` by what they were."""

    def __init__(self, token: str) -> None:
        self.answers: Counter[str] = Counter()
        self.latencies: list[float] = []
        self._token = token
        self._known = [self._asked(f"/patients/{number}") for number in range(KNOWN)]
        self._under_way: set[asyncio.Task[None]] = set()

    def _asked(self, path: str) -> bytes:
        asked = message(token=self._token, path=path, host=HOST, scheme="http")
        return bytes(asked.SerializeToString())

    async def run(self, socket: str, rate: float, stop: asyncio.Event) -> int:
        """Until `stop`; how many were sent, all of which have ended."""
        async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
            check = channel.unary_unary(f"/{SERVICE}/Check")
            started, sent = time.perf_counter(), 0
            while not stop.is_set():
                while (due := started + sent / rate) <= time.perf_counter():
                    data = (
                        self._asked(f"/patients/{KNOWN + sent}")
                        if sent % 2
                        else self._known[sent // 2 % KNOWN]
                    )
                    task = asyncio.create_task(self._ask(check, data, due))
                    self._under_way.add(task)
                    task.add_done_callback(self._under_way.discard)
                    sent += 1
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await asyncio.gather(*self._under_way)
        return sent

    async def _ask(self, check: grpc.aio.UnaryUnaryMultiCallable, data: bytes, due: float) -> None:
        try:
            answer = read_answer(await check(data, timeout=PATIENCE_S))
        except grpc.aio.AioRpcError as error:
            self.answers[error.code().name] += 1
        else:
            self.answers["allow" if answer.allowed else "deny"] += 1
        self.latencies.append(time.perf_counter() - due)


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
