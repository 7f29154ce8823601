"""The judge of the reload test finds each contradiction, and nothing where there is none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.reload.judge import Activation, judge

BEGAN = datetime(2026, 11, 24, tzinfo=UTC).timestamp()
ACTIVATIONS = [Activation(number, BEGAN + number) for number in (1, 2, 3)]


def record(version: int, second: float, cache: str = "miss", **members: Any) -> dict[str, Any]:
    at = datetime.fromtimestamp(BEGAN + second, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    said = {"reason_code": f"from_v{version}", "rule": f"rule_v{version}", "policy_version": f"v{version}"}
    return {"decision_id": "d", "decision": "allow", "timestamp": at, "cache": cache} | said | members


def test_versions_in_their_time_contradict_nothing() -> None:
    said = [record(0, 0.5), record(1, 1.5), record(1, 2.4, "hit"), record(1, 2.2), record(2, 2.5)]
    found = judge(said, ACTIVATIONS)
    assert (found.faults, found.records, found.versions) == ([], 5, {0, 1, 2})
    assert (round(found.latest_hit_s, 3), round(found.latest_s, 3)) == (0.4, 0.2)
    assert dict(found.by_cache) == {"miss": 4, "hit": 1}


@pytest.mark.parametrize(
    "said",
    [
        {"rule": "rule_v2"},
        {"reason_code": "from_v2"},
        {"policy_version": "v2"},
        {"decision": "deny"},
        {"policy_version": "none", "reason_code": "engine_timeout", "rule": "authorizer", "decision": "deny"},
    ],
)
def test_a_mixture_and_a_denial_are_found(said: dict[str, Any]) -> None:
    found = judge([record(1, 1.5, **said)], ACTIVATIONS)
    assert len(found.faults) == found.mixed + found.denied.total() == 1
    assert found.denied.total() == (said.get("decision") == "deny")


@pytest.mark.parametrize("cache", ["hit", "miss", "shared"])
def test_an_older_version_a_second_after_the_next_one_is_found(cache: str) -> None:
    assert judge([record(1, 2.999, cache)], ACTIVATIONS).faults == []
    (fault,) = judge([record(1, 3.001, cache)], ACTIVATIONS).faults
    assert fault == f"d: v1 ({cache}) 1.001 s late"


def test_what_is_late_is_counted_from_the_first_version_that_was_missed() -> None:
    found = judge([record(0, 3.5)], ACTIVATIONS)
    (fault,) = found.faults
    assert found.late == 1
    assert "2.500 s late" in fault
