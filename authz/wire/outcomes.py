"""Outcomes: what Envoy's access log service says became of each request goes into the ledger.

    StreamAccessLogs --messages--> take --entries, bounded--> queue --a few at a time--> `outcome` entries

In: streams of messages. Out: one `outcome` entry for each request, that nobody waits for. Started and stopped
by `app.py`. It must never hold up a decision: each turn of the loop records at most SLICE entries and then
leaves the loop to others, a queue that is full takes no more, and what is lost is counted, in the metrics and
in the next heartbeat. An entry that comes again is recorded once, among the last WINDOW requests of this
process: after a restart it may stand twice, and `aegis outcomes` counts it as one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol

import grpc
import structlog
from google.protobuf.message import DecodeError

from authz._pb import aegis_access_log_pb2 as pb
from authz.config import Settings
from authz.controls.redaction import Redaction
from authz.errors import EvidenceUnavailable
from authz.telemetry.outcomes import OutcomeCounts
from authz.values import FORWARDED
from authz.wire import accesslog
from authz.wire.listening import bind
from authz.wire.tls import open_tls, peer_of

log = structlog.get_logger(__name__)

SERVICE: Final = "envoy.service.accesslog.v3.AccessLogService"
# One message: Envoy sends it when its buffer (16 KiB) is over-full, so it may end with an entry of a path as
# long as Envoy takes one (256 KiB in our configurations), and that twice (path and original path).
MAX_MESSAGE: Final = 1 << 20  # bytes
MAX_STREAMS: Final = 256  # Envoy opens one for each of its threads and access logs
MAX_QUEUED_BYTES: Final = 8 << 20  # of entries that wait to be recorded
WINDOW: Final = 16_384  # requests whose outcomes are recognised when they come again
MAX_EVENTS: Final = 4  # of one request that are kept to recognise them
SLICE: Final = 8  # entries recorded in one turn of the loop: about half a millisecond
PAUSE_S: Final = 0.001  # in which the loop belongs to decisions
BACK_OFF_S: Final = 0.05  # before the next message is read after one that was too much, or could not be
GRACE_S: Final = 0.5  # for what Envoy still sends when the worker stops
MAX_GATEWAY: Final = 64  # characters of an Envoy's own name (node id, else the log's name)
UNKNOWN: Final = "unknown"


class Ledger(Protocol):
    @property
    def log(self) -> str: ...
    def note(self, kind: str, members: dict[str, Any]) -> Any: ...
    def count_lost(self, reason: str, source: str, count: int) -> None: ...


class Outcomes:
    """Takes messages and records what is in them, until `finish`."""

    def __init__(self, settings: Settings, ledger: Ledger, counts: OutcomeCounts) -> None:
        self.streams = 0
        self._waiting, self._correlation = settings.outcomes.waiting, settings.outcomes.correlation_headers
        self._redaction = Redaction(settings.redaction)
        self._ledger, self._counts = ledger, counts
        self._queue: deque[tuple[bytes, str]] = deque()
        self._bytes = 0
        self._seen: dict[str, tuple[tuple[int, int], ...]] = {}
        self._more = asyncio.Event()
        self._turn = asyncio.Lock()

    @property
    def queued(self) -> int:
        return len(self._queue)

    async def follow(self, messages: AsyncIterator[bytes]) -> None:
        """Take a stream's messages as they come, one stream at a time. Raises ValueError for what is none."""
        gateway = UNKNOWN
        async for message in messages:
            async with self._turn:
                good, gateway = self._take(message, gateway)
                if not good:
                    await asyncio.sleep(BACK_OFF_S)  # meanwhile gRPC's window fills, and Envoy waits
            if good is None:
                raise ValueError("not an access log message")

    def _take(self, message: bytes, gateway: str) -> tuple[bool | None, str]:
        """Queue the entries of a message: whether all found room, None if it is no message. With it, whose
        stream it is, which only the first message says.
        """
        try:
            read = pb.StreamAccessLogsMessage.FromString(message)
        except DecodeError:
            self._lose("malformed", gateway, 1)
            return None, gateway
        named = read.identifier.node.id or read.identifier.log_name
        gateway = accesslog.text(named, MAX_GATEWAY) or gateway
        entries = read.http_logs.log_entry
        for place, entry in enumerate(entries):
            if len(self._queue) >= self._waiting or self._bytes + len(entry) > MAX_QUEUED_BYTES:
                self._lose("queue_full", gateway, len(entries) - place)
                return False, gateway
            self._queue.append((entry, gateway))
            self._bytes += len(entry)
            self._more.set()
        return True, gateway

    async def record(self) -> None:
        """Record what is queued, for ever."""
        while True:
            await self._more.wait()
            self._record(SLICE)
            await asyncio.sleep(PAUSE_S)

    def finish(self) -> None:
        """Record all that is queued now: the ledger is about to close."""
        self._record(len(self._queue))

    def _record(self, most: int) -> None:
        for _ in range(min(most, len(self._queue))):
            entry, gateway = self._queue.popleft()
            self._bytes -= len(entry)
            try:
                outcome = accesslog.read(entry, self._correlation, self._redaction)
                if outcome is not None:
                    self._note(outcome, gateway)
            except EvidenceUnavailable:
                self._lose("ledger_unavailable", gateway, 1)
            except ValueError:  # from the reading, or from the ledger for what fits no entry
                self._lose("malformed", gateway, 1)
            except Exception as error:  # a fault of ours costs this outcome, not those behind it
                log.exception("outcome_failed", error=type(error).__name__)
                self._lose("internal_error", gateway, 1)
        if not self._queue:
            self._more.clear()

    def _note(self, outcome: accesslog.Outcome, gateway: str) -> None:
        events = self._seen.get(outcome.identity, ())
        if outcome.event in events:
            self._counts.duplicates += 1
            return
        named = outcome.named
        self._ledger.note("outcome", {"gateway": gateway} | outcome.members)
        self._remember(outcome, events)
        self._counts.arrive(
            named.decision_id if named else "",
            ours=named is not None and named.log == self._ledger.log,
            allowed=named is not None and named.decision in FORWARDED,
            forwarded=outcome.forwarded,
        )

    def _remember(self, outcome: accesslog.Outcome, events: tuple[tuple[int, int], ...]) -> None:
        if not events and len(self._seen) >= WINDOW:
            del self._seen[next(iter(self._seen))]
        self._seen[outcome.identity] = (*events, outcome.event)[-MAX_EVENTS:]

    def _lose(self, reason: str, gateway: str, count: int) -> None:
        self._counts.lose(reason, count)
        self._ledger.count_lost(reason, gateway, count)


class OutcomeServer:
    """Serves the access log service at `settings.listen.outcomes` until `stop`."""

    def __init__(self, settings: Settings, outcomes: Outcomes) -> None:
        self.port = 0  # of TCP, once started
        self._address, self._state = settings.listen.outcomes, settings.state
        self._outcomes = outcomes
        self.tls = open_tls(settings, self._address)
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MAX_MESSAGE),
                ("grpc.max_concurrent_streams", MAX_STREAMS),
            ]
        )
        handler = grpc.stream_unary_rpc_method_handler(self._stream)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"StreamAccessLogs": handler}),)
        )
        self._recording: asyncio.Task[None] | None = None

    def refresh(self) -> None:
        """Follow the files of TLS."""
        if self.tls is not None:
            self.tls.refresh()

    async def start(self) -> None:
        """Bind and serve. Raises ConfigError naming the address that cannot be had."""
        credentials = self.tls.credentials() if self.tls else None
        self.port = bind(self._server, self._address, self._state, "listen.outcomes", credentials)
        self._recording = asyncio.get_running_loop().create_task(self._outcomes.record(), name="outcomes")
        await self._server.start()

    async def stop(self) -> None:
        """Take what Envoy sends within a moment, record it, and let go."""
        await self._server.stop(GRACE_S)
        if self._recording is not None:
            self._recording.cancel()
            await asyncio.wait([self._recording])
        self._outcomes.finish()

    async def _stream(self, messages: AsyncIterator[bytes], context: Any) -> bytes:
        if self.tls is not None and not self.tls.admits(peer_of(context)):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not the pinned Envoy")
        if self._outcomes.streams >= MAX_STREAMS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams")
        self._outcomes.streams += 1
        try:
            await self._outcomes.follow(messages)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._outcomes.streams -= 1
        return b""  # a StreamAccessLogsResponse: it has no fields
