"""An HTTP/1.1 load generator for loopback: bounded in time, closed or open loop.

    python benchmarks/load.py --port 10000 --seconds 5 --connections 16            closed loop
    python benchmarks/load.py --port 10000 --seconds 5 --connections 64 --rate 1000  open loop

In the open loop every request has a time at which it is due, and its latency counts from then, so that a
stall is felt by all requests that it delayed. Prints one JSON object: requests, statuses, seconds, and
latency percentiles in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import Callable

import httptools
import uvloop


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request in flight."""

    def __init__(self, finished: Callable[[Connection], None], status: Callable[[int], None]) -> None:
        self._finished, self._status = finished, status
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._status(self._parser.get_status_code())
        self._parser = httptools.HttpResponseParser(self)
        self._finished(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._status(-1)

    def close(self) -> None:
        self._status = lambda status: None
        self._transport.abort()


class Load:
    """Plays requests until the time is over."""

    def __init__(self, requests: Callable[[int], bytes], seconds: float, rate: float) -> None:
        self._request, self._seconds, self._rate = requests, seconds, rate
        self._idle: deque[Connection] = deque()
        self._late: deque[float] = deque()
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self._sent = 0
        self._end = 0.0

    async def run(self, host: str, port: int, connections: int) -> float:
        loop = asyncio.get_running_loop()
        pool = [
            (await loop.create_connection(lambda: Connection(self._done, self._count), host, port))[1]
            for _ in range(connections)
        ]
        started = time.perf_counter()
        self._end = started + self._seconds
        if self._rate:
            self._idle.extend(pool)
            await self._arrivals(started)
        else:
            for connection in pool:
                self._send(connection, time.perf_counter())
            await asyncio.sleep(self._seconds)
        took = time.perf_counter() - started
        await asyncio.sleep(0.2)
        for connection in pool:
            connection.close()
        return took

    async def _arrivals(self, started: float) -> None:
        number = 0
        while (now := time.perf_counter()) < self._end:
            while started + number / self._rate <= now:
                due = started + number / self._rate
                number += 1
                if self._idle:
                    self._send(self._idle.popleft(), due)
                else:
                    self._late.append(due)
            await asyncio.sleep(max(0.0, started + number / self._rate - time.perf_counter()))

    def _send(self, connection: Connection, due: float) -> None:
        self._sent += 1
        connection.send(self._request(self._sent), due)

    def _count(self, status: int) -> None:
        self.statuses[status] += 1

    def _done(self, connection: Connection) -> None:
        now = time.perf_counter()
        self.latencies.append(now - connection.due)
        if now >= self._end:
            return
        if not self._rate:
            self._send(connection, now)
        elif self._late:
            self._send(connection, self._late.popleft())
        else:
            self._idle.append(connection)


def percentiles(latencies: list[float]) -> dict[str, float]:
    """Milliseconds at each percentile (nearest rank)."""
    ordered = sorted(latencies)
    ranks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    last = len(ordered) - 1
    return {
        name: round(ordered[min(last, int(rank * len(ordered)))] * 1000, 3) for name, rank in ranks.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--path", default="/", help="{n} is replaced by the request's number")
    parser.add_argument("--authority", default="localhost")
    parser.add_argument("--header", action="append", default=[], help="Name: value")
    parser.add_argument("--offset", type=int, default=0, help="first number for {n}")
    options = parser.parse_args()
    head = "".join(f"{line}\r\n" for line in (f"Host: {options.authority}", *options.header))

    def request(number: int) -> bytes:
        path = options.path.replace("{n}", str(number + options.offset))
        return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()

    load = Load(request, options.seconds, options.rate)
    took = uvloop.run(load.run(options.host, options.port, options.connections))
    result = {
        "requests": len(load.latencies),
        "seconds": round(took, 3),
        "statuses": {str(status): count for status, count in sorted(load.statuses.items())},
        "latency_ms": percentiles(load.latencies) if load.latencies else {},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
