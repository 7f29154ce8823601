"""Decisions and outcomes on disk find each other, in any order and in any log; what is left over is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authz.errors import IntegrityViolation
from authz.ledger import outcomes
from authz.ledger.outcomes import Joined, describe, join
from tests import ledgers

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"
OTHER = f"{ledgers.WORKER}/{ledgers.LATER_EPOCH}"
Members = dict[str, Any]


def decision(number: int, **members: Any) -> Members:
    return ledgers.decision(number) | {"request_id": f"request-{number}"} | members


def outcome(number: int, seq: int, *, log: str = LOG, **members: Any) -> Members:
    """Of decision `number`, which stands at `seq` of `log`."""
    return {
        "kind": "outcome",
        "decision_id": decision(number)["decision_id"],
        "decision_log": log,
        "decision_seq": seq,
        "started": "2026-01-01T00:00:00.000000Z",
        "duration_us": 1000 + number,
        "forwarded": True,
        "request_id": f"request-{number}",
    } | members


def undecided(number: int, **members: Any) -> Members:
    """An outcome of a request that Envoy knows no decision of."""
    whole = outcome(number, 0, forwarded=False, endpoint="http://a.example/x") | members
    return {name: value for name, value in whole.items() if not name.startswith("decision_")}


def joined(root: Path, *entries: Members, after_s: float = 0.0) -> Joined:
    def story() -> Iterator[Members]:
        yield {"kind": "open"}
        yield from entries

    ledgers.write(root, story())
    report = ledgers.check(root)
    assert report.verified, report.first_fault
    return join(root, after_s)


def counts(found: Joined, *names: str) -> tuple[Any, ...]:
    return tuple(getattr(found, name) for name in names)


def test_an_outcome_finds_its_decision(tmp_path: Path) -> None:
    found = joined(tmp_path, decision(1), decision(2), outcome(2, 2), outcome(1, 1), after_s=60)
    assert counts(found, "decisions", "outcomes", "in_time", "late", "pending", "breaches") == (
        2,
        2,
        2,
        0,
        0,
        0,
    )


def test_one_that_comes_after_the_bound_is_late(tmp_path: Path) -> None:
    """Entry n of a test's ledger is n seconds old."""
    found = joined(tmp_path, decision(1), decision(2), outcome(1, 1), outcome(2, 2), after_s=1.5)
    assert counts(found, "in_time", "late") == (0, 2)


def test_a_decision_is_missing_its_outcome_only_after_the_bound(tmp_path: Path) -> None:
    entries = decision(1), decision(2, decision="deny"), {"kind": "heartbeat"}, decision(3)
    found = joined(tmp_path, *entries, after_s=1.5)
    assert counts(found, "missing_allowed", "missing_denied", "pending") == (1, 1, 1)
    assert [(each.seq, each.what.split()[0]) for each in found.missing_examples] == [
        (1, "allow"),
        (2, "deny"),
    ]


def test_what_went_out_though_it_was_denied_is_a_breach(tmp_path: Path) -> None:
    found = joined(tmp_path, decision(1, decision="deny"), outcome(1, 1), decision(2), outcome(2, 3))
    assert found.breaches == 1
    (example,) = found.breach_examples
    assert (example.log, example.seq) == (LOG, 2)
    assert example.what == f"forwarded, though decision {decision(1)['decision_id']} is deny"


def test_what_went_out_in_shadow_was_let_out(tmp_path: Path) -> None:
    shadowed = decision(1, decision="would_block", mode="shadow", policy_decision="deny")
    found = joined(tmp_path, shadowed, outcome(1, 1), decision(2, decision="would_block"), decision(3))
    assert counts(found, "late", "breaches", "missing_allowed", "missing_denied") == (1, 0, 1, 0)


def test_what_went_out_without_a_decision_is_a_breach_and_what_stayed_here_is_not(tmp_path: Path) -> None:
    found = joined(tmp_path, undecided(1), undecided(2, forwarded=True))
    assert counts(found, "without_decision", "breaches") == (2, 1)
    assert found.breach_examples[0].what == "forwarded, no decision: http://a.example/x"


def test_an_answer_that_envoy_did_not_hear_is_joined_by_the_request(tmp_path: Path) -> None:
    found = joined(tmp_path, decision(1), undecided(1), after_s=60)
    assert counts(found, "in_time", "by_request_id", "without_decision") == (1, 1, 0)


def test_joining_by_the_request_makes_no_denial_an_allow(tmp_path: Path) -> None:
    found = joined(tmp_path, decision(1, decision="deny"), undecided(1, forwarded=True))
    assert counts(found, "by_request_id", "breaches") == (1, 1)


def test_two_decisions_of_one_request_have_one_outcome_between_them(tmp_path: Path) -> None:
    found = joined(
        tmp_path, decision(1), decision(2, request_id="request-1"), undecided(1), {"kind": "heartbeat"}
    )
    assert counts(found, "by_request_id", "missing_allowed") == (1, 1)


def test_an_outcome_recorded_twice_counts_once_and_a_second_one_is_named(tmp_path: Path) -> None:
    twice = outcome(1, 1), outcome(1, 1)
    found = joined(tmp_path, decision(1), *twice, outcome(1, 1, duration_us=7))
    assert counts(found, "late", "duplicates", "repeated", "without_decision") == (1, 1, 1, 0)


def test_beyond_the_window_a_second_outcome_is_still_no_breach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "WINDOW", 1)
    entries = decision(1), outcome(1, 1), decision(2), outcome(2, 3), outcome(1, 1)
    found = joined(tmp_path, *entries)
    assert counts(found, "late", "duplicates", "repeated", "breaches") == (2, 0, 1, 0)


def test_other_logs_are_joined_too_and_one_that_is_not_here_is_said_to_be(tmp_path: Path) -> None:
    def later() -> Iterator[Members]:
        yield {"kind": "open"}
        yield outcome(1, 1)
        yield outcome(9, 1, log="aegis.test/worker-9/20260101T000000Z-0")

    ledgers.write(tmp_path, later(), epoch=ledgers.LATER_EPOCH)
    found = joined(tmp_path, decision(1), outcome(2, 1, log=OTHER))
    assert counts(found, "decisions", "outcomes", "elsewhere", "breaches") == (1, 3, 1, 0)
    assert found.in_time + found.late == 1
    assert found.repeated == 1  # names an entry of the other log that is no decision waiting for it


def test_an_outcome_may_stand_before_its_decision_in_the_order_of_logs(tmp_path: Path) -> None:
    def later() -> Iterator[Members]:
        yield {"kind": "open"}
        yield decision(1)

    ledgers.write(tmp_path, later(), epoch=ledgers.LATER_EPOCH)
    found = joined(tmp_path, outcome(1, 1, log=OTHER))
    assert counts(found, "in_time", "late", "without_decision") == (1, 0, 0)


@pytest.mark.parametrize("forged", [{"decision_seq": 7}, {"decision_seq": -1}, {"decision_seq": "1"}])
def test_an_outcome_that_names_no_entry_is_without_decision(tmp_path: Path, forged: Members) -> None:
    found = joined(tmp_path, decision(1), outcome(1, 1, **forged))
    assert counts(found, "in_time", "without_decision", "breaches") == (0, 1, 1)


def test_what_workers_say_they_lost_is_added_up(tmp_path: Path) -> None:
    lost = [{"reason_code": "queue_full", "source": "egress", "count": 3}, "noise", {"count": "x"}]
    found = joined(tmp_path, *({"kind": "heartbeat", "outcomes_lost": lost} for _ in range(2)))
    assert found.lost == {"queue_full": 6, "": 0}
    assert "  6 lost by the worker, as its heartbeats say: queue_full" in list(describe(found))


@pytest.mark.parametrize(
    "name", ["started", "duration_us", "forwarded", "request_id", "endpoint", "decision_log"]
)
def test_members_of_another_type_count_as_absent(tmp_path: Path, name: str) -> None:
    found = joined(tmp_path, decision(1), outcome(1, 1, **{name: ["unexpected"]}))
    assert counts(found, "decisions", "outcomes") == (1, 1)


def test_what_is_no_entry_is_named(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 3)
    ledgers.edit(epoch, lambda entries: entries.__setitem__(1, b"{}"))
    with pytest.raises(IntegrityViolation, match="line 2, seq 1"):
        join(tmp_path, 60)


def test_examples_are_bounded_and_counts_are_not(tmp_path: Path) -> None:
    count = outcomes.EXAMPLES + 5
    found = joined(tmp_path, *(undecided(number, forwarded=True) for number in range(count)))
    assert counts(found, "without_decision", "breaches") == (count, count)
    assert len(found.breach_examples) == len(found.without_examples) == outcomes.EXAMPLES


def test_an_empty_ledger_has_nothing_to_join(tmp_path: Path) -> None:
    found = joined(tmp_path)
    assert counts(found, "decisions", "outcomes", "breaches") == (0, 0, 0)
    assert "decisions  0" in list(describe(found))
