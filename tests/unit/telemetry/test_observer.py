"""A decision leaves its count, its stages and, when sampled, a span that names its record."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest
import uuid_utils
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from authz.pipeline import Authorizer, Decided, Ledger
from authz.telemetry.metrics import WorkerMetrics
from authz.telemetry.observer import DecisionObserver
from authz.telemetry.spans import Spans
from authz.testing import a_request
from authz.values import Decision, Malformed, Reason, Request
from tests.unit.test_pipeline import ALLOW, Says, Wrote, subject
from tests.workers import Worker

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7"


class Seen:
    """What one observer has told: metrics, and spans when `sampling` says so."""

    def __init__(self, sampling: float | None = None) -> None:
        self.metrics = WorkerMetrics()
        self.exporter = InMemorySpanExporter()
        spans = None
        if sampling is not None:
            spans = Spans(SimpleSpanProcessor(self.exporter), sampling, {"service.name": "aegis"})
        self.observer = DecisionObserver(self.metrics, spans)

    def stage(self, name: str) -> tuple[int, float]:
        """Observations, and their sum in seconds."""
        histogram = self.metrics.stages[name]
        return sum(histogram.counts), histogram.total

    async def decide(self, ledger: Ledger, request: Request | Malformed) -> None:
        authorizer = Authorizer(
            identify=subject,
            policy=Says(ALLOW),
            ledger=ledger,
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            new_id=lambda: str(uuid_utils.uuid7()),
            timeout_s=1.0,
            reply_after="synced",
            observer=self.observer,
        )
        await authorizer.decide(request)


def told(**ends: float) -> Decided:
    """A decision whose stages ended so many seconds after its start."""
    decision = Decided(a_request())
    decision.record = {"decision": "allow", "reason_code": "permitted"}
    decision.wrote = Wrote()
    for name in ("identified", "judged", "written"):
        setattr(decision, name, decision.started + ends[name])
    return decision


def test_each_stage_is_the_time_since_the_one_before_it() -> None:
    seen = Seen()
    seen.observer.decided(told(identified=0.25, judged=0.75, written=1.75))
    for name, seconds in (("identity", 0.25), ("policy", 0.5), ("ledger", 1.0)):
        assert seen.stage(name) == (1, pytest.approx(seconds, abs=1e-6))
    assert {seen.stage(name)[0] for name in ("read", "reply", "total")} == {0}  # the service's own


async def test_sealing_the_record_is_the_ledgers_time_and_not_policys(worker: Worker) -> None:
    appended: list[float] = []

    class Timed:
        def append(self, kind: str, members: dict[str, Any], *, synced: bool) -> asyncio.Future[Any]:
            appended.append(time.perf_counter())
            return ledger.append(kind, members, synced=synced)

    seen = Seen()
    watched: list[Decided] = []
    seen.observer.decided = watched.append  # type: ignore[method-assign]
    async with worker.running() as ledger:
        await seen.decide(Timed(), a_request())
    (decision,) = watched
    assert decision.started <= decision.identified <= decision.judged <= appended[0] <= decision.written


async def test_what_is_counted_is_what_is_recorded(worker: Worker) -> None:
    seen = Seen()
    async with worker.running() as ledger:
        await seen.decide(ledger, a_request())
        await seen.decide(ledger, a_request())
        await seen.decide(ledger, Malformed(Reason.MALFORMED_PATH, "", trace_id=TRACE))
    assert seen.metrics.decisions == {("allow", "permitted"): 2, ("deny", "malformed_path"): 1}
    recorded = [entry for entry in worker.check()[-1] if entry["kind"] == "decision"]
    pairs = [(entry["decision"], entry["reason_code"]) for entry in recorded]
    assert pairs == [("allow", "permitted")] * 2 + [("deny", "malformed_path")]
    assert seen.stage("ledger")[0] == 3


async def test_a_sampled_decision_has_a_span_that_names_its_record(worker: Worker) -> None:
    seen = Seen(sampling=0.0)
    async with worker.running() as ledger:
        await seen.decide(ledger, a_request(trace_id=TRACE, parent_span_id=PARENT, sampled=True))
    (span,) = seen.exporter.get_finished_spans()
    (entry,) = (entry for entry in worker.check()[-1] if entry["kind"] == "decision")
    assert (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}") == (TRACE, entry["span_id"])
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == PARENT
    attributes = dict(span.attributes or {})
    for name in ("decision_id", "agent_id", "decision", "reason_code", "policy_version", "params_hash"):
        assert attributes[f"aegis.{name}"] == entry[name]
    assert attributes["aegis.seq"] == str(entry["seq"])


async def test_what_is_not_sampled_is_counted_and_recorded_all_the_same(worker: Worker) -> None:
    seen = Seen(sampling=0.0)
    async with worker.running() as ledger:
        await seen.decide(ledger, a_request(trace_id=TRACE))
        await seen.decide(ledger, a_request(trace_id=TRACE, parent_span_id=PARENT, sampled=False))
    assert seen.exporter.get_finished_spans() == ()
    assert seen.metrics.decisions == {("allow", "permitted"): 2}
    assert worker.kinds().count("decision") == 2


async def test_a_refused_request_has_its_span_too(worker: Worker) -> None:
    seen = Seen(sampling=1.0)
    async with worker.running() as ledger:
        await seen.decide(ledger, Malformed(Reason.MALFORMED_BODY, "twice", trace_id=TRACE))
    (span,) = seen.exporter.get_finished_spans()
    assert dict(span.attributes or {})["aegis.reason_code"] == "malformed_body"
    assert "twice" not in str(span.attributes)


def test_what_went_on_in_shadow_is_counted_by_its_rule() -> None:
    seen = Seen()
    for decision in (Decision.ALLOW, Decision.WOULD_BLOCK, Decision.DENY):
        made = told(identified=0, judged=0, written=0)
        made.record = {"decision": decision, "reason_code": "code", "rule": "bulk-export"}
        seen.observer.decided(made)
        seen.observer.unheard(made)  # its caller left, so that it did not go on
    assert seen.metrics.would_block == {"bulk-export": 1}
