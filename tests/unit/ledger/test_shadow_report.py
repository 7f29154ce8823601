"""What would have been blocked is counted by rule, agent and destination; labels say how often wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import IntegrityViolation
from authz.ledger import shadow_report as module
from authz.ledger.labels import Labels
from authz.ledger.shadow_report import (
    EXAMPLES,
    OTHERS,
    Filter,
    Row,
    ShadowReport,
    Z,
    destination_of,
    report,
    wilson,
)
from tests import ledgers

NOBODY = Labels()
EVERYTHING = Filter()


def decision(number: int, agent: str = "a", rule: str = "r", **members: Any) -> dict[str, Any]:
    """Number 7 is made at 00:00:07; in shadow unless `decision` says something else."""
    plain: dict[str, Any] = {
        "agent_id": agent,
        "rule": rule,
        "endpoint": "https://api.example/v1/x",
        "timestamp": f"2026-01-01T00:{number // 60:02}:{number % 60:02}.000000Z",
        "decision": "would_block",
    }
    if members.get("decision", "would_block") == "would_block":
        plain |= {"mode": "shadow", "policy_decision": "deny"}
    return ledgers.decision(number) | plain | members


def allowed(number: int, agent: str = "a", **members: Any) -> dict[str, Any]:
    return decision(number, agent, **{"decision": "allow"} | members)


def reported(
    root: Path, *entries: dict[str, Any], asked: Filter = EVERYTHING, labels: Labels = NOBODY
) -> ShadowReport:
    ledgers.write(root, iter([{"kind": "open"}, *entries]))
    return report(root, asked, labels)


def ids(*numbers: int) -> list[str]:
    return [str(ledgers.decision(number)["decision_id"]) for number in numbers]


def counts(rows: list[Row]) -> list[tuple[str, int, int]]:
    return [("".join((row.rule, row.agent, row.destination)), row.would_block, row.requests) for row in rows]


def test_each_rule_agent_and_destination_has_its_share(tmp_path: Path) -> None:
    other = {"endpoint": "https://b.example:8443/y"}
    found = reported(
        tmp_path,
        decision(1, rule="r", policy_decision="deny"),
        decision(2, rule="s", policy_decision="approval_needed"),
        decision(3, agent="b", rule="s"),
        allowed(4),
        allowed(5, agent="b", **other),
        decision(6, agent="b", decision="deny", rule="t"),
        decision(7, agent="b", rule="s", **other),
    )
    assert (found.total.requests, found.total.would_block, found.total.share) == (7, 4, 4 / 7)
    assert counts(found.rules) == [("s", 3, 7), ("r", 1, 7)]
    assert counts(found.agents) == [("a", 2, 3), ("b", 2, 4)]
    assert counts(found.destinations) == [("https://api.example", 3, 5), ("https://b.example:8443", 1, 2)]
    assert [(row.rule, row.agent, row.destination, row.requests) for row in found.rows] == [
        ("r", "a", "https://api.example", 3),
        ("s", "a", "https://api.example", 3),
        ("s", "b", "https://api.example", 2),
        ("s", "b", "https://b.example:8443", 2),
    ]
    (rule_s, _) = found.rules
    assert rule_s.policy_decisions == {"approval_needed": 1, "deny": 2}
    assert (rule_s.first[17:19], rule_s.last[17:19], rule_s.examples) == ("02", "07", ids(2, 3, 7))


def test_examples_are_the_newest_and_few(tmp_path: Path) -> None:
    found = reported(tmp_path, *(decision(number, agent=f"a{number % 2}") for number in range(10)))
    assert found.rules[0].examples == ids(7, 8, 9)[-EXAMPLES:]
    assert found.agents[0].examples == ids(4, 6, 8)


@pytest.mark.parametrize(
    ("asked", "would_block", "requests"),
    [
        (Filter(start="2026-01-01T00:00:02.000000Z"), 2, 3),
        (Filter(end="2026-01-01T00:00:02.000000Z"), 1, 1),
        (Filter("2026-01-01T00:00:02.000000Z", "2026-01-01T00:00:03.000000Z"), 1, 1),
        (Filter(rule="s"), 1, 4),
        (Filter(agent="b"), 1, 1),
        (Filter(destination="https://api.example"), 3, 4),
        (Filter(destination="https://api"), 0, 0),
        (Filter(rule="s", agent="a"), 0, 3),
    ],
)
def test_what_is_asked_for_is_counted_and_its_share_is_of_the_same(
    tmp_path: Path, asked: Filter, would_block: int, requests: int
) -> None:
    found = reported(tmp_path, decision(1), decision(2), decision(3, "b", "s"), allowed(4), asked=asked)
    assert (found.total.would_block, found.total.requests) == (would_block, requests)


def test_labels_say_how_often_it_was_wrong_and_how_surely(tmp_path: Path) -> None:
    said = {1: {"ana": "false_positive"}, 2: {"ana": "true_positive", "bo": "true_positive"}}
    said |= {3: {"ana": "true_positive", "bo": "false_positive"}, 9: {"ana": "true_positive"}}
    labels = Labels({ids(number)[0]: by for number, by in said.items()})
    found = reported(
        tmp_path,
        *(decision(number) for number in range(1, 5)),
        decision(5, rule="s"),
        allowed(9),
        labels=labels,
    )
    rule, unlabelled = (row.reviewed for row in found.rules)
    assert (rule.labelled, rule.true_positives, rule.false_positives, rule.disputed) == (3, 1, 1, 1)
    assert (rule.share, rule.low, rule.high) == (0.5, *wilson(1, 2))
    assert (unlabelled.labelled, unlabelled.share, unlabelled.low) == (0, None, None)
    assert found.total.reviewed.labelled == 3


@pytest.mark.parametrize(
    ("found", "of", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_the_interval_is_wilsons(found: int, of: int, low: float, high: float) -> None:
    assert wilson(found, of) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_the_interval_holds_the_share_and_is_one(seen: tuple[int, int]) -> None:
    """Its ends are the shares of which what was seen is just 1.96 standard deviations away."""
    low, high = wilson(*seen)
    share = seen[0] / seen[1]
    for end in (low, high):
        assert (share - end) ** 2 == pytest.approx(Z * Z * end * (1 - end) / seen[1], abs=1e-12)
    assert 0 <= low <= seen[0] / seen[1] <= high <= 1


@pytest.mark.parametrize(
    ("endpoint", "destination"),
    [
        ("https://api.example/v1/x", "https://api.example"),
        ("http://10.0.0.7:8080/a/b", "http://10.0.0.7:8080"),
        ("https://api.example", "https://api.example"),
        ("unknown", "unknown"),
        ("sha256:ab", "unknown"),
    ],
)
def test_a_destination_is_an_endpoint_without_its_path(endpoint: str, destination: str) -> None:
    assert destination_of(endpoint) == destination


def test_names_that_never_end_fill_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 4)
    found = reported(tmp_path, *(decision(number, f"a{number}", f"r{number}") for number in range(20)))
    assert found.total.would_block == found.total.requests == 20
    assert len(found.rows) <= 8
    assert sum(row.would_block for row in found.rows) == 20
    assert OTHERS in {row.agent for row in found.agents}
    assert all(0 < row.share <= 1 for rows in (found.rows, found.agents, found.rules) for row in rows)


def test_nothing_in_shadow_is_nothing_to_report(tmp_path: Path) -> None:
    found = reported(tmp_path, allowed(1))
    assert (found.total.requests, found.total.would_block, found.total.share, found.rules) == (1, 0, 0.0, [])


@pytest.mark.parametrize("member", ["rule", "endpoint", "agent_id"])
def test_what_is_no_decision_is_named_by_file_and_seq(tmp_path: Path, member: str) -> None:
    def story() -> Iterator[dict[str, Any]]:
        yield {"kind": "open"}
        yield decision(1) | {member: 5}

    ledgers.write(tmp_path, story())
    with pytest.raises(IntegrityViolation, match="no decision") as raised:
        report(tmp_path, Filter(), NOBODY)
    assert raised.value.seq == 1
