"""How often a cache would have answered, reckoned from recorded facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from authz.policy.facts import WHOLE
from authz.policy.manifest import EntryPoint
from authz.policy.manifest import Path as Fact
from authz.replay.hits import PARAMETERS, Counting, Hits
from authz.replay.recorded import Recorded, Why

ID, TOOL, ARGUMENTS = ("agent", "id"), ("action", "tool"), ("action", "arguments")
HEADERS = ("attributes", "request", "http", "headers")
HELD = EntryPoint((ID, TOOL, ARGUMENTS, HEADERS, ("context",)), prune=True)


def decision(document: dict[str, Any], *, at: int = 0, log: str = "a", **members: Any) -> Recorded:
    """One second after another."""
    masked = members.pop("masked", ())
    why = members.pop("why", None)
    said = {"log": log, "seq": at, "timestamp": f"2026-11-26T10:00:{at:02d}.000000Z", "cache": "miss"}
    question = b"" if why else orjson.dumps(document)
    return Recorded(said | members, Path("x"), 1, question, masked, why)


def count(paths: list[Fact], *decisions: Recorded, **members: Any) -> Hits:
    told = {"deterministic": True, "ttl_s": 30.0, "size": 100} | members
    held = told.pop("held", lambda recorded: HELD)
    counting = Counting(EntryPoint(tuple(paths), prune=True), held, **told)
    for each in decisions:
        counting.add(each)
    return counting.result()


def asked(agent: str, tool: str = "t", **members: Any) -> Recorded:
    return decision({"agent": {"id": agent}, "action": {"tool": tool}}, **members)


def test_equal_facts_are_one_question_and_answered_from_the_cache() -> None:
    found = count([ID], asked("a", "x"), asked("a", "y", at=1), asked("b", at=2), asked("a", at=3))
    assert (found.decisions, found.counted, found.keys, found.hits) == (4, 4, 2, 2)


def test_a_verdict_lives_for_its_time_in_the_cache_of_its_own_log() -> None:
    told = [asked("a"), asked("a", at=9), asked("a", at=10), asked("a", at=5, log="b")]
    assert count([ID], *told, ttl_s=10.0).hits == 1
    assert count([ID], *told, ttl_s=11.0).hits == 2
    assert count([ID], *told, ttl_s=0.0).hits == 0


def test_a_small_cache_forgets() -> None:
    told = [asked("a"), asked("b", at=1), asked("a", at=2)]
    assert [count([ID], *told, size=size).hits for size in (1, 2)] == [0, 1]


def test_the_fact_that_splits_most_comes_first_with_what_its_absence_would_bring() -> None:
    told = [asked(f"a{number % 4}", f"t{number // 4}", at=number) for number in range(8)]
    first, second = count([ID, TOOL], *told).splits
    assert (first.path, first.values, first.keys_without, first.hits_without) == (ID, 4, 2, 6)
    assert (second.path, second.values, second.keys_without, second.hits_without) == (TOOL, 2, 4, 4)


def test_a_fact_that_another_one_tells_already_costs_nothing_and_is_not_listed() -> None:
    told = [asked(f"a{number}", f"t{number % 2}", at=number) for number in range(4)]
    assert [split.path for split in count([ID, TOOL], *told).splits] == [ID]


def test_a_fact_that_never_differs_costs_nothing_and_is_not_listed() -> None:
    assert [split.path for split in count([ID, TOOL], asked("a"), asked("b", at=1)).splits] == [ID]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"agent": {}}),
        ({"agent": {}}, {"agent": {"id": None}}),
        ({"agent": "x"}, {"agent": {}}),
        ({"agent": None}, {}),
        ({"agent": {"id": 1}}, {"agent": {"id": 1.0}}),
        ({"agent": {"id": 1}}, {"agent": {"id": True}}),
    ],
)
def test_what_stands_in_the_way_of_a_fact_is_told_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert count([ID], decision(one), decision(other, at=1)).keys == 2


def test_a_volatile_fact_is_never_answered_from_the_cache_and_without_it_all_is() -> None:
    step = ("context", "step_id")
    told = [decision({"context": {"step_id": "s"}, "agent": {"id": "a"}}, at=at) for at in range(3)]
    told.append(decision({"context": {"step_id": "other"}, "agent": {"id": "a"}}, at=4))
    found = count([ID, step], *told)
    assert found.hits == 0
    assert [(split.path, split.hits_without) for split in found.splits] == [(step, 3)]


def test_all_headers_are_answered_from_the_cache_where_none_is_volatile() -> None:
    plain = {"attributes": {"request": {"http": {"headers": {"accept": "*/*"}}}}}
    traced = {"attributes": {"request": {"http": {"headers": {"traceparent": "1"}}}}}
    assert count([HEADERS], decision(plain), decision(plain, at=1)).hits == 1
    assert count([HEADERS], decision(traced), decision(traced, at=1)).hits == 0


def test_what_may_answer_differently_is_never_answered_from_the_cache() -> None:
    assert count([ID], asked("a"), asked("a", at=1), deterministic=False).hits == 0


def test_a_payload_that_was_not_kept_counts_by_the_hash_of_the_parameters() -> None:
    masked = ("/action/arguments",)
    hidden = {"action": {"arguments": "[masked]"}}
    told = [
        decision(hidden, at=at, masked=masked, params_hash=digest)
        for at, digest in enumerate(("1", "1", "2"))
    ]
    found = count([ARGUMENTS], *told)
    assert (found.by_parameters, found.keys, found.hits) == (3, 2, 1)
    assert [split.path for split in found.splits] == [PARAMETERS]
    assert count([TOOL], *told).by_parameters == 0


def test_several_fields_at_once_are_counted_one_by_one() -> None:
    told = [asked("a", f"t{number}", at=number) for number in range(3)]
    found = count([("action",)], *told, held=lambda recorded: WHOLE)
    assert [split.path for split in found.splits] == [TOOL]


def test_a_decision_whose_facts_do_not_say_what_is_read_is_not_counted() -> None:
    told = [
        asked("a"),
        asked("a", at=1, why=Why.ERASED),
        asked("a", at=2, policy_digest="gone"),
    ]
    found = count([ID], *told, held=lambda recorded: None if recorded.digest == "gone" else HELD)
    assert (found.decisions, found.counted) == (3, 1)
    assert found.unknown == {Why.ERASED: 1, Why.VERSION_UNKNOWN: 1}
    assert count([("session", "id")], asked("a")).unknown == {Why.NOT_CAPTURED: 1}


def test_what_the_records_say_of_the_cache_is_counted() -> None:
    assert count([ID], asked("a"), asked("a", at=1, cache="hit")).recorded == {"miss": 1, "hit": 1}


def test_of_nothing_nothing_is_said() -> None:
    found = count([ID])
    assert (found.decisions, found.keys, found.hits, found.splits) == (0, 0, 0, ())
