"""Metrics show what happened, bounded in number, and readiness names its reasons."""

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as TheirHistogram

from authz.errors import ConfigError
from authz.telemetry.histogram import LATENCY_BUCKETS, Histogram, HistogramCollector
from authz.telemetry.http import StatusServer
from authz.telemetry.metrics import Gauge, WorkerMetrics

OBSERVED = (0.0, 0.00025, 0.0003, 0.02, 0.0200001, 5.0)


def nothing() -> Iterator[Gauge]:
    yield from ()


def samples(registry: CollectorRegistry) -> list[str]:
    text = generate_latest(registry).decode()
    return sorted(line for line in text.splitlines() if not line.startswith("#") and "_created" not in line)


def test_the_histogram_counts_as_prometheus_own_does() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Histogram()
    ours.register(HistogramCollector("h", "text", "", {"": mine}))
    other = TheirHistogram("h", "text", registry=theirs, buckets=LATENCY_BUCKETS)
    for value in OBSERVED:
        mine.observe(value)
        other.observe(value)
    assert samples(ours) == samples(theirs)


def test_twenty_milliseconds_and_the_budget_are_bucket_edges() -> None:
    assert {0.00025, 0.01, 0.02, 0.05} <= set(LATENCY_BUCKETS)


def test_a_policy_cannot_fill_the_memory_with_reason_codes() -> None:
    metrics = WorkerMetrics()
    for number in range(10_000):
        metrics.count_decision("deny", f"reason_{number}")
    assert len(metrics.decisions) <= 257
    assert sum(metrics.decisions.values()) == 10_000


def test_a_policy_cannot_fill_the_memory_with_rules() -> None:
    metrics = WorkerMetrics()
    for number in range(10_000):
        metrics.count_would_block(f"rule-{number}")
    assert len(metrics.would_block) <= 257
    assert sum(metrics.would_block.values()) == 10_000


def test_counts_and_gauges_reach_the_scrape() -> None:
    metrics = WorkerMetrics()
    metrics.count_would_block("agent-limits")
    metrics.count_decision("allow", "permitted")
    metrics.count_refusal("overloaded")
    metrics.stages["total"].observe(0.001)

    def gauges() -> Iterator[Gauge]:
        yield "aegis_waiting", "Requests being decided.", 3.0, {}
        yield "aegis_cache_total", "Answers.", 5.0, {"result": "hit"}

    text = "\n".join(samples(metrics.registry(gauges)))
    for line in (
        'aegis_decisions_total{decision="allow",reason_code="permitted"} 1.0',
        'aegis_refusals_total{reason_code="overloaded"} 1.0',
        'aegis_would_block_total{rule="agent-limits"} 1.0',
        'aegis_stage_seconds_count{stage="total"} 1.0',
        "aegis_waiting 3.0",
        'aegis_cache_total{result="hit"} 5.0',
    ):
        assert line in text


def test_a_first_refusal_is_an_increase_of_a_series_that_was_there() -> None:
    text = "\n".join(samples(WorkerMetrics().registry(nothing)))
    for reason in ("evidence_unavailable", "overloaded", "internal_error"):
        assert f'aegis_refusals_total{{reason_code="{reason}"}} 0.0' in text


def test_readiness_names_every_reason() -> None:
    reasons: list[str] = []
    server = StatusServer("127.0.0.1:0", WorkerMetrics().registry(nothing), lambda: reasons)
    base = f"http://127.0.0.1:{server.port}"
    try:
        assert urllib.request.urlopen(f"{base}/readyz").status == 200
        assert b"aegis_decisions" in urllib.request.urlopen(f"{base}/metrics").read()
        reasons.append("no policy")
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"{base}/readyz")
        assert (error.value.code, error.value.read()) == (503, b"no policy\n")
        assert urllib.request.urlopen(f"{base}/healthz").status == 200
        error.value.close()
        with pytest.raises(ConfigError, match="metrics address"):
            StatusServer(f"127.0.0.1:{server.port}", CollectorRegistry(), list)
    finally:
        server.close()
