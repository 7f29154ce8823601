"""An OTLP logs receiver of our own, over real gRPC, that fails on command.

    async with collecting(socket) as collector:
        collector.script.append(unavailable())        what becomes of the next request
        collector.received                            the bodies (entries) it has kept, in order

    python -m tests.collector SOCKET FILE             in a process of its own, for tests that kill it

The process appends the body of every record to FILE, a line each, and syncs before it acknowledges. A line
that it was killed in is cut when it starts again. While a file FILE.die exists, it kills itself after it has
synced and before it acknowledges, and takes the file away.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as pb
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from authz import canonical

Step = Callable[[list[LogRecord], Any], Awaitable[pb.ExportLogsServiceResponse | None]]
"""Sees the records of a request: answers it instead (aborts included), or returns None to accept them."""


class Collector(logs_service_pb2_grpc.LogsServiceServicer):
    """`script` is used up request by request; then everything is accepted, unless `always` says otherwise."""

    def __init__(self, keep: Callable[[list[str]], None] | None = None) -> None:
        self.script: list[Step] = []
        self.always: Step | None = None
        self.requests: list[pb.ExportLogsServiceRequest] = []
        self.metadata: list[tuple[tuple[str, str], ...]] = []
        self.received: list[str] = []
        self._keep = keep or self.received.extend

    async def Export(self, request: pb.ExportLogsServiceRequest, context: Any) -> Any:  # noqa: N802
        records = records_of(request)
        self.requests.append(request)
        self.metadata.append(tuple(context.invocation_metadata()))
        step = self.script.pop(0) if self.script else self.always
        answer = await step(records, context) if step else None
        if answer is None:
            self._keep([record.body.string_value for record in records])
        return answer or pb.ExportLogsServiceResponse()


class Forgetting(Collector):
    """For long runs: it has nothing but what it was given to keep."""

    async def Export(self, request: pb.ExportLogsServiceRequest, context: Any) -> Any:  # noqa: N802
        answer = await super().Export(request, context)
        self.requests.clear()
        self.metadata.clear()
        return answer


def records_of(request: pb.ExportLogsServiceRequest) -> list[LogRecord]:
    return [
        record
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


def abort(code: grpc.StatusCode, text: str, retry_after_s: float | None = None) -> Step:
    """Refuse the request; with a RetryInfo if there is a time to wait."""

    async def step(records: list[LogRecord], context: Any) -> None:
        details = []
        if retry_after_s is not None:
            packed = Packed()
            packed.Pack(RetryInfo(retry_delay=Duration(nanos=int(retry_after_s * 1e9))))
            details = [packed]
        status = Status(code=code.value[0], message=text, details=details)
        await context.abort(code, text, (("grpc-status-details-bin", status.SerializeToString()),))

    return step


def lost_answer(collector: Collector) -> Step:
    """Keep the records, and fail before the acknowledgement is out."""

    async def step(records: list[LogRecord], context: Any) -> None:
        collector.received.extend(record.body.string_value for record in records)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection is gone")

    return step


def hangs(until: asyncio.Event) -> Step:
    async def step(records: list[LogRecord], context: Any) -> None:
        await until.wait()
        await context.abort(grpc.StatusCode.ABORTED, "too late")

    return step


def rejects(wrong: Callable[[str], bool], collector: Collector) -> Step:
    """Keep the others, and answer with a partial success."""

    async def step(records: list[LogRecord], context: Any) -> pb.ExportLogsServiceResponse:
        bodies = [record.body.string_value for record in records]
        collector.received.extend(body for body in bodies if not wrong(body))
        answer = pb.ExportLogsServiceResponse()
        answer.partial_success.rejected_log_records = sum(map(wrong, bodies))
        answer.partial_success.error_message = "not these" if any(map(wrong, bodies)) else ""
        return answer

    return step


def refuses(wrong: Callable[[str], bool], code: grpc.StatusCode, text: str) -> Step:
    """Refuse the whole request if a record in it is wrong."""

    async def step(records: list[LogRecord], context: Any) -> None:
        if any(wrong(record.body.string_value) for record in records):
            await context.abort(code, text)

    return step


@asynccontextmanager
async def collecting(
    target: Path, collector: Collector | None = None, **credentials: Any
) -> AsyncIterator[Collector]:
    """A collector at the Unix socket `target`."""
    collector = collector or Collector()
    server = grpc.aio.server()
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(collector, server)
    server.add_insecure_port(f"unix:{target}")
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(0)


def once(bodies: list[str]) -> list[tuple[str, int]]:
    """What a receiver has after deduplication: (log, seq) in the order of first arrival."""
    places: dict[tuple[str, int], str] = {}
    for body in bodies:
        members = canonical.parse(body.encode())
        assert places.setdefault((members["log"], members["seq"]), body) == body
    return list(places)


async def main(socket: str, file: str) -> None:
    out = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    cut(out)

    def keep(bodies: list[str]) -> None:
        os.write(out, "".join(f"{body}\n" for body in bodies).encode())
        os.fdatasync(out)
        if Path(f"{file}.die").exists():
            Path(f"{file}.die").unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    async with collecting(Path(socket), Forgetting(keep)):
        await asyncio.Event().wait()


def cut(out: int) -> None:
    """Take away an unfinished last line: nobody was told that it is kept."""
    size = end = os.fstat(out).st_size
    while end:
        start = max(0, end - 65_536)
        found = os.pread(out, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        os.ftruncate(out, end)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
