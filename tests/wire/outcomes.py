"""A real OutcomeServer on a real ledger, and a client as Envoy's access logger is one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from authz.ledger.journal import Disk
from authz.ledger.writer import LedgerWriter
from authz.pipeline import Decided
from authz.telemetry.outcomes import OutcomeCounts
from authz.wire.outcomes import SERVICE, Outcomes, OutcomeServer
from tests.wire.serving import until
from tests.workers import Worker

METHOD = f"/{SERVICE}/StreamAccessLogs"


class Nobody:
    def decided(self, decision: Decided) -> None:
        pass


class Listening:
    """The server, what is behind it, and a channel to it."""

    def __init__(
        self, ledger: LedgerWriter, outcomes: Outcomes, counts: OutcomeCounts, channel: grpc.aio.Channel
    ) -> None:
        self.ledger, self.outcomes, self.counts, self.channel = ledger, outcomes, counts, channel

    def stream(self) -> Any:
        """A call to write messages to; nothing ends it but the test, the server or the channel."""
        return self.channel.stream_unary(METHOD)()

    async def send(self, *messages: bytes) -> None:
        """One stream of these messages, ended in order."""
        call = self.stream()
        for message in messages:
            await call.write(message)
        await call.done_writing()
        assert await call == b""

    async def recorded(self) -> None:
        """Until nothing waits to be recorded."""
        await until(lambda: not self.outcomes.queued)


@asynccontextmanager
async def listening(worker: Worker, disk: Disk | None = None, **outcomes: Any) -> AsyncIterator[Listening]:
    """`outcomes`: settings of that section. Stopped in order at the end, as `app.py` does it."""
    settings = worker.settings.model_validate(
        worker.settings.model_dump() | {"listen": {"outcomes": "unix:run/o.sock"}, "outcomes": outcomes}
    )
    async with worker.running(disk) as ledger:
        counts = OutcomeCounts(Nobody(), settings.outcomes.after_s)
        taking = Outcomes(settings, ledger, counts)
        server = OutcomeServer(settings, taking)
        await server.start()
        async with grpc.aio.insecure_channel(f"unix:{worker.state}/run/o.sock") as channel:
            try:
                yield Listening(ledger, taking, counts, channel)
            finally:
                await server.stop()


def outcomes(worker: Worker) -> list[dict[str, Any]]:
    """The outcomes on disk, after our verifier and the independent one found the ledger whole."""
    return [entry for epoch in worker.check() for entry in epoch if entry["kind"] == "outcome"]


def lost(worker: Worker) -> dict[tuple[str, str], int]:
    """What the heartbeats on disk say was lost, by reason and source."""
    found: dict[tuple[str, str], int] = {}
    for entry in (entry for epoch in worker.check() for entry in epoch):
        for each in entry.get("outcomes_lost", []):
            key = (each["reason_code"], each["source"])
            found[key] = found.get(key, 0) + each["count"]
    return found
