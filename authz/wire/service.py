"""One call from bytes to bytes, whatever carries them: bound, read, decide, reply.

In: a serialised CheckRequest and what its call says of time and trace. Out: a serialised CheckResponse,
always: a fault of ours is a refusal. Called by `server.py`; knows no gRPC. It must never answer with an allow
that did not come out of the pipeline with a Receipt.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from authz.config import Settings
from authz.errors import EvidenceUnavailable
from authz.telemetry.metrics import WorkerMetrics
from authz.values import Malformed, Mcp, Reason, Receipt, Request
from authz.wire.bursts import Bursts
from authz.wire.extauthz import read
from authz.wire.plugin.reading import PluginReader
from authz.wire.plugin.replies import PluginReplies
from authz.wire.reply import Replies, refusal

log = structlog.get_logger(__name__)

UNKNOWN_SOURCE: Final = "unknown"


class Call(Protocol):
    """What the transport knows of one call."""

    def time_left(self) -> float | None:
        """Seconds until the caller gives up; None if it never does."""
        ...

    def traceparent(self) -> str:
        """The call's own `traceparent`, "" without one."""
        ...


class Decides(Protocol):
    """The pipeline (`pipeline.Authorizer`)."""

    def decide(self, request: Request | Malformed, time_left_s: float) -> Awaitable[Receipt]: ...


class Service:
    """Answers calls; holds who waits. `count_refusal(reason, source)` tells the ledger's next heartbeat."""

    def __init__(
        self,
        settings: Settings,
        authorizer: Decides,
        metrics: WorkerMetrics,
        count_refusal: Callable[[str, str], None],
        bursts: Bursts,
        new_trace_id: Callable[[], str] = lambda: os.urandom(16).hex(),
    ) -> None:
        self.waiting = 0
        self._limits = settings.limits
        self._most = settings.listen.waiting
        self._share = max(1, int(settings.listen.waiting * settings.listen.source_share))
        self._sources: dict[str, int] = {}
        self._bursts = bursts
        self._authorizer = authorizer
        self._metrics = metrics
        self._count_refusal = count_refusal
        self._new_trace_id = new_trace_id
        replies = PluginReplies if settings.policy.compat else Replies
        self._replies = replies(
            full=settings.reply.denial_detail == "full",
            credentials=("authorization",) if settings.identity.use_authorization else (),
        )
        self._read = (
            PluginReader(settings.policy.plugin, settings.state).read if settings.policy.compat else read
        )
        self._stages = [metrics.stages[name] for name in ("turn", "read", "reply", "total")]

    async def handle(self, message: bytes, call: Call) -> bytes:
        """The answer to one Check. Cancellation passes through: what was appended stays appended."""
        arrived = started = time.perf_counter()
        source, client = UNKNOWN_SOURCE, None
        try:
            turn = self._bursts.join() if self.waiting < self._most else None
            if turn is not None:  # nobody holds a place yet: whose call it is has not been read
                await self._wait(turn)
                started = time.perf_counter()
            left = call.time_left()
            request = self._read(message, self._limits, call.traceparent(), self._new_trace_id)
            reading = time.perf_counter()
            source, client = request.source_address or UNKNOWN_SOURCE, request.mcp
            if (left is not None and left <= 0) or not self._enter(source):
                return self._refuse(Reason.OVERLOADED, source, client)
            try:
                receipt = await self._authorizer.decide(request, math.inf if left is None else left)
            finally:
                self._leave(source)
            replying = time.perf_counter()
            answer = self._replies.reply(receipt, request)
        except EvidenceUnavailable:
            return self._refuse(Reason.EVIDENCE_UNAVAILABLE, source, client)
        except Exception as error:  # nothing of ours may become a gRPC error, which hides what happened
            log.exception("check_failed", error=type(error).__name__)
            return self._refuse(Reason.INTERNAL_ERROR, source, client)
        self._observe(arrived, started, reading, replying)
        return answer

    async def _wait(self, turn: Awaitable[None]) -> None:
        """For others to come. Who leaves meanwhile was not read: counted, since no record can name it."""
        try:
            await turn
        except asyncio.CancelledError:
            self._metrics.count_refusal(Reason.CALLER_GONE)
            self._count_refusal(Reason.CALLER_GONE, UNKNOWN_SOURCE)
            raise

    def _enter(self, source: str) -> bool:
        """Whether one more of `source` may wait; it then counts until `_leave`."""
        held = self._sources.get(source, 0)
        if self.waiting >= self._most or held >= self._share:
            return False
        self.waiting += 1
        self._sources[source] = held + 1
        return True

    def _leave(self, source: str) -> None:
        self.waiting -= 1
        held = self._sources[source] - 1
        if held:
            self._sources[source] = held
        else:
            del self._sources[source]

    def _refuse(self, reason: Reason, source: str, client: Mcp | None) -> bytes:
        self._metrics.count_refusal(reason)
        self._count_refusal(reason, source)
        return refusal(reason, client)

    def _observe(self, arrived: float, started: float, reading: float, replying: float) -> None:
        now = time.perf_counter()
        turn, read_stage, reply_stage, total = self._stages
        turn.observe(started - arrived)
        read_stage.observe(reading - started)
        reply_stage.observe(now - replying)
        total.observe(now - arrived)
