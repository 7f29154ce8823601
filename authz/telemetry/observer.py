"""Turns each finished decision into counts, stage times and, when sampled, a span."""

from __future__ import annotations

from typing import Final

from authz.pipeline import Decided
from authz.telemetry.metrics import WorkerMetrics
from authz.telemetry.spans import Spans
from authz.values import Decision

_WOULD_BLOCK: Final = Decision.WOULD_BLOCK


class DecisionObserver:
    """The pipeline's observer: a few microseconds for most decisions, a span for the sampled ones."""

    def __init__(self, metrics: WorkerMetrics, spans: Spans | None) -> None:
        self._metrics = metrics
        self._spans = spans
        self._identity = metrics.stages["identity"]
        self._policy = metrics.stages["policy"]
        self._ledger = metrics.stages["ledger"]

    def unheard(self, decision: Decided) -> None:
        """Recorded, but nobody waited to the end: it counts, and its times would say nothing."""
        self._metrics.count_decision(decision.record["decision"], decision.record["reason_code"])

    def decided(self, decision: Decided) -> None:
        """Called once the record of `decision` is down."""
        record = decision.record
        decided = record["decision"]
        self._metrics.count_decision(decided, record["reason_code"])
        if decided is _WOULD_BLOCK:
            self._metrics.count_would_block(record["rule"])
        self._identity.observe(decision.identified - decision.started)
        self._policy.observe(decision.judged - decision.identified)
        self._ledger.observe(decision.written - decision.judged)
        if self._spans is not None and self._spans.samples(decision.request):
            took = decision.written - decision.started
            self._spans.emit(decision.request, record, took, decision.wrote.seq)
