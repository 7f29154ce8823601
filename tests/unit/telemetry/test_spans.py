"""One span per sampled decision, in Envoy's trace, named by its record."""

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from authz.telemetry.spans import Spans
from authz.testing import a_request

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "00f067aa0ba902b7"
RECORD = {"span_id": "800000000000abcd", "agent_id": "a", "decision_id": "d", "params_hash": "p", "seq": 1}


def spans(sampling: float = 1.0) -> tuple[Spans, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    return Spans(SimpleSpanProcessor(exporter), sampling, {"service.name": "aegis"}), exporter


def test_the_span_is_a_child_of_envoy_s_and_carries_the_record_s_ids() -> None:
    tracer, exporter = spans()
    tracer.emit(a_request(trace_id=TRACE, parent_span_id=PARENT, sampled=True), RECORD, 0.5, 9)
    (span,) = exporter.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.context.span_id:016x}" == RECORD["span_id"]
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.attributes is not None
    assert span.attributes["aegis.decision_id"] == "d"
    assert span.attributes["aegis.seq"] == "9"
    assert span.end_time - span.start_time == 500_000_000  # type: ignore[operator]


def test_a_new_trace_has_no_parent_but_keeps_its_id() -> None:
    tracer, exporter = spans()
    tracer.emit(a_request(trace_id=TRACE), RECORD, 0.0, 0)
    (span,) = exporter.get_finished_spans()
    assert span.parent is None
    assert f"{span.context.trace_id:032x}" == TRACE


def test_a_parent_decides_on_sampling_and_a_ratio_decides_for_new_traces() -> None:
    none, _ = spans(0.0)
    every, _ = spans(1.0)
    half, _ = spans(0.5)
    assert none.samples(a_request(parent_span_id=PARENT, sampled=True))
    assert not every.samples(a_request(parent_span_id=PARENT, sampled=False))
    assert not none.samples(a_request(trace_id=TRACE))
    assert every.samples(a_request(trace_id="f" * 32))
    assert half.samples(a_request(trace_id="0" * 16 + "7" + "0" * 15))
    assert not half.samples(a_request(trace_id="0" * 16 + "8" + "0" * 15))
