"""Which decisions wait for their outcome: in time, late, elsewhere, never; and what should not go out."""

from __future__ import annotations

from typing import Any

import pytest

from authz.pipeline import Decided
from authz.telemetry import outcomes
from authz.telemetry.outcomes import ELSEWHERE, IN_TIME, LATE, NONE, OutcomeCounts


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Observer:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def decided(self, decision: Decided) -> None:
        self.seen.append(decision.record["decision_id"])


class Counting:
    """Counts with a bound of ten seconds."""

    def __init__(self) -> None:
        self.clock, self.observer = Clock(), Observer()
        self.counts = OutcomeCounts(self.observer, 10.0, self.clock)

    def decide(self, *ids: str) -> None:
        for id_ in ids:
            decision = Decided.__new__(Decided)
            decision.record = {"decision_id": id_}
            self.counts.decided(decision)

    def arrive(self, id_: str, **how: Any) -> None:
        self.counts.arrive(id_, **({"ours": True, "allowed": True, "forwarded": True} | how))

    def joined(self) -> dict[tuple[str, bool], int]:
        return {key: count for key, count in self.counts.arrived.items() if count}


@pytest.fixture
def counting() -> Counting:
    return Counting()


def test_an_outcome_takes_its_decision_out_of_those_that_wait(counting: Counting) -> None:
    counting.decide("a", "b")
    counting.arrive("a")
    assert (counting.counts.pending, counting.joined()) == (1, {(IN_TIME, True): 1})
    assert counting.observer.seen == ["a", "b"]


def test_what_does_not_come_in_time_is_missing_and_then_late(counting: Counting) -> None:
    counting.decide("a")
    counting.clock.now += 5
    counting.decide("b")
    counting.clock.now += 5.1
    counting.counts.expire()
    assert (counting.counts.missing, counting.counts.pending) == (1, 1)
    counting.arrive("a")
    counting.arrive("b")
    counting.counts.expire()
    assert counting.joined() == {(LATE, True): 1, (IN_TIME, True): 1}
    assert (counting.counts.missing, counting.counts.pending) == (1, 0)


def test_another_logs_decision_and_none_are_told_apart(counting: Counting) -> None:
    counting.arrive("other", ours=False)
    counting.arrive("", ours=False, allowed=False, forwarded=False)
    assert counting.joined() == {(ELSEWHERE, True): 1, (NONE, False): 1}
    assert counting.counts.breaches == 0


@pytest.mark.parametrize("id_", ["", "denied"])
def test_what_went_out_without_an_allow_is_a_breach(counting: Counting, id_: str) -> None:
    counting.decide("denied")
    counting.arrive(id_, allowed=False)
    assert counting.counts.breaches == 1


def test_memory_is_bounded_and_the_oldest_counts_as_missing(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "MAX_PENDING", 3)
    counting.decide(*"abcde")
    assert (counting.counts.pending, counting.counts.missing) == (3, 2)


def test_every_count_is_shown_before_it_counts_anything(counting: Counting) -> None:
    """An alert on `increase()` does not see a series that begins with its first count."""
    shown = list(counting.counts.gauges(5, 2, not_written=4))
    values = {(name, *labels.values()): value for name, _, value, labels in shown}
    assert len(values) == len(shown)
    for joined in (IN_TIME, LATE, ELSEWHERE, NONE):
        assert values["aegis_outcomes_total", joined, "true"] == 0
    for reason in outcomes.LOST:
        assert values["aegis_outcomes_lost_total", reason] == 0
    assert values["aegis_outcomes_lost_total", "not_written"] == 4
    assert values["aegis_outcomes_missing_total",] == 0
    assert values["aegis_outcomes_forwarded_without_allow_total",] == 0
    assert (values["aegis_outcomes_queued",], values["aegis_outcomes_streams",]) == (5, 2)
