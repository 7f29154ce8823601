"""The worker's metrics. Names are listed in the README; every one is read by a scrape, never pushed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from authz.telemetry.histogram import SIZE_BUCKETS, Histogram, HistogramCollector

STAGES: Final = ("turn", "read", "identity", "policy", "ledger", "reply", "total")
# Shown from the start: `increase()` does not see a series that begins with its first refusal.
REFUSALS: Final = ("evidence_unavailable", "overloaded", "internal_error", "caller_gone")
_MAX_SERIES: Final = 256  # distinct (decision, reason) pairs, and rules: policies bring their own


class WorkerMetrics:
    """What the request path counts. Only the event loop writes; scrapes read from their own thread."""

    def __init__(self) -> None:
        self.stages = {stage: Histogram() for stage in STAGES}
        self.decisions: dict[tuple[str, str], int] = {}
        self.would_block: dict[str, int] = {}  # by rule
        self.refusals: dict[str, int] = dict.fromkeys(REFUSALS, 0)
        self.writes = {"": Histogram()}
        self.syncs = {"": Histogram()}
        self.batches = {"": Histogram(SIZE_BUCKETS)}

    def count_decision(self, decision: str, reason: str) -> None:
        key = (decision, reason)
        if key not in self.decisions and len(self.decisions) >= _MAX_SERIES:
            key = (decision, "other")
        self.decisions[key] = self.decisions.get(key, 0) + 1

    def count_would_block(self, rule: str) -> None:
        if rule not in self.would_block and len(self.would_block) >= _MAX_SERIES:
            rule = "other"
        self.would_block[rule] = self.would_block.get(rule, 0) + 1

    def count_refusal(self, reason: str) -> None:
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def registry(self, gauges: Callable[[], Iterator[Gauge]]) -> CollectorRegistry:
        """A registry with everything; `gauges` is called at each scrape for what others hold."""
        registry = CollectorRegistry()
        for name, text, label, children in (
            ("aegis_stage_seconds", "Time of each stage of a decision, and in total.", "stage", self.stages),
            ("aegis_ledger_write_seconds", "Time of one write of a batch of entries.", "", self.writes),
            ("aegis_ledger_sync_seconds", "Time of one fdatasync.", "", self.syncs),
            ("aegis_ledger_batch_entries", "Entries covered by one sync.", "", self.batches),
        ):
            registry.register(HistogramCollector(name, text, label, children))
        registry.register(_Counts(self))
        registry.register(GaugeCollector(gauges))
        return registry


class _Counts(Collector):
    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        decisions = CounterMetricFamily(
            "aegis_decisions", "Recorded decisions.", labels=["decision", "reason_code"]
        )
        for (decision, reason), count in list(self._metrics.decisions.items()):
            decisions.add_metric([decision, reason], count)
        yield decisions
        text = "Requests that went on because their denial is in shadow."
        would_block = CounterMetricFamily("aegis_would_block", text, labels=["rule"])
        for rule, count in list(self._metrics.would_block.items()):
            would_block.add_metric([rule], count)
        yield would_block
        refusals = CounterMetricFamily("aegis_refusals", "Answers without a record.", labels=["reason_code"])
        for reason, count in list(self._metrics.refusals.items()):
            refusals.add_metric([reason], count)
        yield refusals


Gauge = tuple[str, str, float, dict[str, str]]
"""(name, help, value, labels); a name that ends in `_total` is shown as a counter."""


class GaugeCollector(Collector):
    """Asks for values only when scraped, so that nobody has to keep gauges up to date."""

    def __init__(self, read: Callable[[], Iterator[Gauge]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for name, text, value, labels in self._read():
            if name not in families:
                kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
                families[name] = kind(name.removesuffix("_total"), text, labels=list(labels))
            families[name].add_metric(list(labels.values()), value)  # type: ignore[attr-defined]
        yield from families.values()

    def describe(self) -> list[Metric]:
        return []  # names are known only by reading, and reading at registration would be too early
