"""Every fact about opa-envoy-plugin: our answer is the one that the real plugin gave (`record.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from authz.errors import PolicyRejected
from tests.compat.cases import Case, Group, groups
from tests.compat.compared import (
    BEYOND_OPA,
    DENIED_ALL_THE_SAME,
    FORBIDDEN_TO_HTTP,
    WRITTEN_OTHERWISE,
    plain,
)
from tests.compat.ours import answering

RECORDED = orjson.loads(Path(__file__).with_name("vectors.json").read_bytes())
GROUPS = groups()
# A path that leads nowhere fails with every request there; we refuse to publish it.
NOWHERE = ("paths/missing", "paths.allowed")
PUBLISHED = [group for group in GROUPS if group.path not in NOWHERE]
COVERED = {*range(1, 9), *range(10, 30)} - {3, 5, 9}


def test_the_answers_are_of_the_plugin_that_the_facts_are_about() -> None:
    assert RECORDED["plugin"] == "1.19.1"


def test_every_case_has_an_answer_of_the_plugin_and_every_answer_a_case() -> None:
    named = {group.name: {case.name for case in group.cases} for group in GROUPS}
    assert named == {name: set(answers) for name, answers in RECORDED["answers"].items()}


def test_every_fact_about_requests_and_answers_has_a_case() -> None:
    facts = {case.fact for group in GROUPS for case in group.cases}
    assert facts >= COVERED


@pytest.mark.parametrize("group", PUBLISHED, ids=[group.name for group in PUBLISHED])
async def test_our_answer_is_the_plugins(group: Group, tmp_path: Path) -> None:
    async with answering(group, tmp_path) as ours:
        for case in group.cases:
            ours.book.entries.clear()
            answer = await ours.ask(case.message)
            _check(case, RECORDED["answers"][group.name][case.name], answer)
            _check_record(case, answer, ours.record)


def _check(case: Case, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    expected, found = plain(theirs), plain(ours)
    if case.name in FORBIDDEN_TO_HTTP:
        assert expected != "error", case.name
        assert found == "error", case.name
    elif case.name in WRITTEN_OTHERWISE:
        assert found != expected, case.name
        assert found["allowed"] == expected["allowed"], case.name
    elif case.name.startswith(BEYOND_OPA):
        assert expected["allowed"], case.name
        assert found == "error", case.name
    elif case.name in DENIED_ALL_THE_SAME:
        assert expected == "error", case.name
        assert not found["allowed"], case.name
    else:
        assert found == expected, case.name


def _check_record(case: Case, answer: dict[str, Any], record: dict[str, Any]) -> None:
    """Whatever is answered has its record, and what is denied without policy's word says why."""
    assert answer["dynamicMetadata"]["decision_id"] == record["decision_id"], case.name
    allowed = "code" not in answer["status"]
    assert (record["decision"] in ("allow", "would_block")) == allowed, case.name
    if plain(answer) == "error":
        assert record["reason_code"] == "policy_error" or record["reason_code"].startswith("malformed_")
        assert record["rationale"], case.name
    elif plain(answer) == "unparsed":
        assert record["reason_code"].startswith("malformed_"), case.name
        assert record["rationale"][0].startswith("request_parse_error: "), case.name


def test_headers_are_set_as_the_plugin_sets_them() -> None:
    """Fact 9: without append and append_action."""
    options = RECORDED["answers"]["results"]["8 headers on an allow"]["okResponse"]["headers"]
    assert options == [{"header": {"key": "x-a", "value": "1"}}]


@pytest.mark.parametrize("path", NOWHERE)
async def test_a_path_that_leads_nowhere_is_not_published(path: str, tmp_path: Path) -> None:
    (group,) = (group for group in GROUPS if group.path == path)
    assert RECORDED["answers"][group.name] == {"ask": {"error": "UNKNOWN"}}
    with pytest.raises(PolicyRejected, match=path):
        async with answering(group, tmp_path):
            raise AssertionError


async def test_what_a_typical_policy_does_not_read_makes_no_new_question(tmp_path: Path) -> None:
    (group,) = (group for group in GROUPS if group.name == "typical")
    asked = {case.name: case.message for case in group.cases}
    async with answering(group, tmp_path) as ours:
        await ours.ask(asked["reads"])
        await ours.ask(asked["reads again"])
        assert [entry["cache"] for entry in ours.book.entries] == ["miss", "hit"]
