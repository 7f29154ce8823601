"""One OpenTelemetry span per sampled evaluation (requirement D1), child of Envoy's ext_authz span.

The span's id is the last half of the decision id, so span and record name each other without a look-up:
the record holds trace_id and span_id, the span holds decision_id, log and seq.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

from authz.values import Malformed, Request

# The record's members that become span attributes, in D1's words; `aegis.` keeps them apart from others'.
ATTRIBUTES: Final = (
    "agent_id",
    "tool",
    "decision",
    "reason_code",
    "rule",
    "policy_version",
    "params_hash",
    "approval_id",
    "decision_id",
    "cache",
)


class _GivenIds(IdGenerator):
    """Gives the ids that the record already names; one event loop, so one pair at a time is enough."""

    trace_id = 1
    span_id = 1

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class Spans:
    """Exports the spans of sampled decisions; an exporter that is down costs spans, never decisions."""

    def __init__(self, processor: SpanProcessor, sampling: float, service: Mapping[str, str]) -> None:
        self._ids = _GivenIds()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create(dict(service)),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("aegis")
        self._threshold = int(sampling * 2**64)

    @classmethod
    def otlp(cls, endpoint: str, sampling: float, service: Mapping[str, str]) -> Spans:
        """Over OTLP/HTTP to `endpoint`, encoded and sent on a thread of its own."""
        return cls(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)), sampling, service)

    def samples(self, request: Request | Malformed) -> bool:
        """A sampled parent is followed, an unsampled one too; a new trace is sampled by its id."""
        if request.parent_span_id:
            return request.sampled
        return bool(request.trace_id) and int(request.trace_id[16:], 16) < self._threshold

    def emit(self, request: Request | Malformed, record: Mapping[str, Any], seconds: float, seq: int) -> None:
        """Make and end the span of a decision that took `seconds` until now."""
        end = time.time_ns()
        self._ids.trace_id = int(request.trace_id, 16)
        self._ids.span_id = int(record["span_id"], 16)
        parent = None
        if request.parent_span_id:
            context = SpanContext(
                self._ids.trace_id, int(request.parent_span_id, 16), True, TraceFlags(TraceFlags.SAMPLED)
            )
            parent = set_span_in_context(NonRecordingSpan(context))
        attributes = {f"aegis.{name}": str(record[name]) for name in ATTRIBUTES if name in record}
        attributes["aegis.seq"] = str(seq)
        span = self._tracer.start_span(
            "aegis.decide",
            context=parent,
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=end - int(seconds * 1e9),
        )
        span.end(end)

    def close(self) -> None:
        """Send what is waiting, then stop."""
        self._provider.shutdown()
