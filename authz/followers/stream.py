"""The record stream: serves `aegis.v1.Ledger` (proto/aegis/v1/ledger.proto) from what lies on disk.

In: requests of programs that follow the ledger. Out: entries, receipts, checkpoints. Started and stopped by
the follower's process; a worker never knows of it. It must never send what a crash could take back, nor pass
over an entry. A client that reads slowly costs one batch of memory: the next one is read when gRPC has taken
it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
import structlog
from opentelemetry.instrumentation.grpc import aio_server_interceptor
from opentelemetry.trace import TracerProvider

from authz._pb.aegis.v1 import ledger_pb2 as pb
from authz._pb.aegis.v1 import ledger_pb2_grpc
from authz.config import Settings
from authz.errors import IntegrityViolation
from authz.followers import reading
from authz.followers.bell import Bell
from authz.followers.durable import Durable
from authz.followers.feed import Ahead, Feed, NotHere
from authz.followers.places import checkpoint_of
from authz.ledger.proofs import Proofs
from authz.telemetry.metrics import Gauge
from authz.wire.listening import bind

log = structlog.get_logger(__name__)

MAX_STREAMS: Final = 32  # open at once, of both kinds
MAX_CALLS: Final = 64  # with those that ask for one entry
LARGEST_REQUEST: Final = 4096  # bytes
GRACE_S: Final = 1.0  # for calls under way when the server stops

Code = grpc.StatusCode


class NotSealed(Exception):
    """No checkpoint covers the entry."""


_CODES: Final[dict[type[Exception], grpc.StatusCode]] = {
    NotHere: Code.NOT_FOUND,
    Ahead: Code.OUT_OF_RANGE,
    NotSealed: Code.FAILED_PRECONDITION,
}


class RecordStream(ledger_pb2_grpc.LedgerServicer):
    """The service; `stop` ends streams that follow. `clients` and `sent` are for metrics."""

    def __init__(self, durable: Durable, bell: Bell, stop: asyncio.Event) -> None:
        self._durable, self._bell, self._stop = durable, bell, stop
        self._proofs, self._proving = Proofs(), asyncio.Lock()
        self.clients = self.sent = 0

    async def StreamEntries(  # noqa: N802 - the service names it
        self, request: pb.StreamEntriesRequest, context: Any
    ) -> AsyncIterator[pb.Entry]:
        start = getattr(request, "from")
        async with self._admitted(context), _translated(context):
            if not request.worker:
                await context.abort(Code.INVALID_ARGUMENT, "no worker is named")
            feed = await asyncio.to_thread(Feed, self._durable, request.worker, start.log, start.seq)
            while not self._stop.is_set():
                batch = await asyncio.to_thread(feed.next)
                for taken in batch:
                    yield pb.Entry(
                        log=taken.log, seq=taken.seq, entry=taken.entry, hash=bytes.fromhex(taken.entry_hash)
                    )
                    self.sent += 1
                if not batch:
                    if not request.follow:
                        return
                    await self._bell.heard(self._stop)

    async def StreamCheckpoints(  # noqa: N802 - as above
        self, request: pb.StreamCheckpointsRequest, context: Any
    ) -> AsyncIterator[pb.Checkpoint]:
        sizes: dict[str, int] = {}
        async with self._admitted(context), _translated(context):
            while not self._stop.is_set():
                for checkpoint in await asyncio.to_thread(self._checkpoints, request.worker):
                    if checkpoint.size > sizes.get(checkpoint.log, -1):
                        yield checkpoint
                        sizes[checkpoint.log] = checkpoint.size
                if not request.follow:
                    return
                await self._bell.heard(self._stop)

    async def GetEntry(  # noqa: N802 - as above
        self, request: pb.GetEntryRequest, context: Any
    ) -> pb.Receipt:
        async with _translated(context), self._proving:  # one at a time: it may hash a whole log
            return await asyncio.to_thread(self._receipt, request.log, request.seq)

    def _checkpoints(self, worker: str) -> list[pb.Checkpoint]:
        places = [place for place in self._durable.places() if place.worker == worker]
        if not places:
            raise NotHere(f"no worker {worker!r} has a log here")
        found = [checkpoint_of(place, self._durable.publics) for place in places]
        return [pb.Checkpoint(log=each.log, size=each.size, note=note) for each, note in filter(None, found)]

    def _receipt(self, log_name: str, seq: int) -> pb.Receipt:
        place = next((place for place in self._durable.places() if place.log == log_name), None)
        if place is None:
            raise NotHere("no such log is here")
        found = checkpoint_of(place, self._durable.publics)
        if found is None or seq >= found[0].size:
            raise NotSealed("no checkpoint covers this entry")
        at = reading.locate(place.directory, seq)
        proof = self._proofs.prove(place.directory, seq, found[1])
        (taken,) = reading.take(place.directory, log_name, at, seq + 1, entries=1, size=1)
        entry = pb.Entry(log=log_name, seq=seq, entry=taken.entry, hash=bytes.fromhex(taken.entry_hash))
        return pb.Receipt(entry=entry, proof=proof)

    @asynccontextmanager
    async def _admitted(self, context: Any) -> AsyncIterator[None]:
        if self.clients >= MAX_STREAMS:
            await context.abort(Code.RESOURCE_EXHAUSTED, f"{MAX_STREAMS} streams are open")
        self.clients += 1
        try:
            yield
        finally:
            self.clients -= 1

    def gauges(self) -> Iterator[Gauge]:
        yield "aegis_stream_clients", "Record streams that are open.", self.clients, {}
        yield "aegis_stream_entries_total", "Entries sent to clients of the record stream.", self.sent, {}


@asynccontextmanager
async def _translated(context: Any) -> AsyncIterator[None]:
    """What went wrong becomes the status that the service's documentation names, and nothing else."""
    try:
        yield
    except (NotHere, Ahead, NotSealed) as error:
        await context.abort(_CODES[type(error)], str(error))
    except IntegrityViolation as violation:
        log.critical("integrity_violation", what=str(violation))
        await context.abort(Code.DATA_LOSS, "stored entries are not what was signed")
    except OSError as error:
        log.error("stream_failed", error=str(error))  # noqa: TRY400 - where is in the text
        await context.abort(Code.UNAVAILABLE, "the ledger cannot be read")


class StreamServer:
    """Serves a RecordStream at `settings.follower.stream`; spans go to `tracers`, if there are any."""

    def __init__(self, settings: Settings, service: RecordStream, tracers: TracerProvider | None) -> None:
        self.port = 0  # of TCP, once started
        self._settings = settings
        interceptors = [aio_server_interceptor(tracers)] if tracers else []  # type: ignore[no-untyped-call]
        self._server = grpc.aio.server(
            interceptors=interceptors,
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", LARGEST_REQUEST),
            ],
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        ledger_pb2_grpc.add_LedgerServicer_to_server(service, self._server)

    async def start(self) -> None:
        """Bind and serve. Raises ConfigError naming the address that cannot be had."""
        address, state = self._settings.follower.stream, self._settings.state
        self.port = bind(self._server, address, state, "follower.stream")
        await self._server.start()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, then finish what is under way."""
        await stop.wait()
        await self._server.stop(GRACE_S)
