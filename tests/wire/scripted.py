"""A pipeline that decides as a test wants, for tests whose subject is the wire."""

from __future__ import annotations

import asyncio
from typing import Any

from authz.config import Settings
from authz.telemetry.metrics import WorkerMetrics
from authz.values import Decision, Malformed, Reason, Receipt, Request, Ruling, Verdict
from authz.wire.bursts import LOOK_S, Bursts
from authz.wire.service import Service

LOG = "aegis.local/worker-0/20260101T000000Z-0011223344556677"


def receipt(decision: Decision = Decision.ALLOW, reason: str = "permitted", status: int = 200) -> Receipt:
    verdict = Verdict(decision, reason, rule="scripted", engine="opa")
    return Receipt(LOG, 7, "ab" * 32, "decision-1", Ruling(decision, reason, status, verdict, synced=False))


class Pipeline:
    """Allows what can be read, once `open`; raises `fault` if there is one. Remembers what it was asked."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.asked: list[tuple[Request | Malformed, float]] = []
        self.finished = self.cancelled = 0
        self.open = asyncio.Event()
        self.open.set()

    async def decide(self, request: Request | Malformed, time_left_s: float) -> Receipt:
        self.asked.append((request, time_left_s))
        if self.fault is not None:
            raise self.fault
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.finished += 1
        if isinstance(request, Malformed):
            return receipt(Decision.DENY, request.reason, request.reason.http_status)
        return receipt()


class Refusals:
    """What the ledger's next heartbeat would name."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def __call__(self, reason: str, source: str) -> None:
        assert isinstance(reason, Reason)
        self.seen.append((reason, source))


class Loop:
    """The event loop's clocks: at each look `step_s` have passed, and it computed for `part` of them."""

    def __init__(self, part: float, step_s: float = LOOK_S) -> None:
        self.part, self.step_s = part, step_s
        self.looks = 0
        self._now = self._used = 0.0

    def bursts(self, wait_s: float) -> Bursts:
        return Bursts(wait_s, self._computed, self._clock)

    def _clock(self) -> float:
        self._now += self.step_s
        self._used += self.part * self.step_s
        return self._now

    def _computed(self) -> float:
        self.looks += 1
        return self._used


class Scripted:
    """A Service with its surroundings; `sections` are those of the settings. Without `bursts` every call
    begins at once.
    """

    def __init__(self, fault: Exception | None = None, bursts: Bursts | None = None, **sections: Any) -> None:
        self.settings = Settings.model_validate(sections)
        self.pipeline = Pipeline(fault)
        self.metrics = WorkerMetrics()
        self.refusals = Refusals()
        self.service = Service(
            self.settings, self.pipeline, self.metrics, self.refusals, bursts or Bursts(0.0)
        )
