"""Two requests that policy could tell apart, made so that one is answered with the other's kept verdict."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.errors import Denied
from authz.exact_json import parse
from authz.policy.cache import LARGEST_QUESTION
from authz.policy.facts import Plan
from authz.policy.manifest import EntryPoint
from authz.testing import a_request
from authz.values import MISSING, Action, Assurance, Reason, Request, Subject
from tests.policy.opa import ALLOW, DENY, NOW, SUBJECT, opa_with, started, version_of

ARGUMENTS: Final = ("action", "arguments")
# Each is told from every other one by some policy.
ALIKE: Final = (
    "{}",
    '{"a": null}',
    '{"a": 0}',
    '{"a": 1}',
    '{"a": 1.0}',
    '{"a": 10}',
    '{"a": "1"}',
    '{"a": true}',
    '{"a": "true"}',
    '{"a": ""}',
    '{"a": []}',
    '{"a": [null]}',
    '{"a": [[]]}',
    '{"a": {}}',
    '{"a": {"b": 1}}',
    '{"a.b": 1}',
    '{"a\\"": 1}',
    '{"a\\\\": 1}',
    '{"A": 1}',
    '{"a ": 1}',
    '{"a\\u0000": 1}',
    '{"\\u00e9": 1}',
    '{"e\\u0301": 1}',
    '{"a": "\\u00e9"}',
    '{"a": "e\\u0301"}',
    '{"a": "\\u212b"}',
    '{"a": "\\u00c5"}',
    '{"a": "\\ufb01"}',
    '{"a": "fi"}',
    '{"a": "a\\u200b"}',
    '{"a": "a"}',
    '{"a": "\\u0430"}',
    '{"a": "1\\",\\"b\\":\\"2"}',
    '{"a": "1", "b": "2"}',
    '{"a": 9007199254740991}',
    '{"a": 9007199254740990}',
    '{"a": 0.1}',
    '{"a": 0.10000000000000002}',
)


def plan(*paths: tuple[str, ...]) -> Plan:
    return Plan(EntryPoint(paths, prune=True), revision="r", deterministic=True)


def acting(arguments: Any) -> Request:
    return a_request(action=Action("http", "", "POST", "/v1", arguments))


def question(arguments: Any, *paths: tuple[str, ...]) -> bytes:
    return plan(*(paths or (ARGUMENTS,))).facts(acting(arguments), SUBJECT, NOW).question


def exactly(value: Any) -> Any:
    """`value` so that `==` tells 1, 1.0 and true apart, and takes no note of the order of members."""
    if isinstance(value, dict):
        return ("object", frozenset((name, exactly(item)) for name, item in value.items()))
    if isinstance(value, (list, tuple)):
        return ("array", tuple(map(exactly, value)))
    return (type(value).__name__, math.copysign(1, value) if isinstance(value, float) else 0, value)


texts = st.text(max_size=3) | st.sampled_from(["a", "a.b", "\u00e9", "e\u0301", '"', "\\", "\x00", "1"])
scalars = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, -0.0, 1.0, 1e100]) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@given(values, values)
@example({"a": 1}, {"a": 1.0})
@example({"a": 0.0}, {"a": -0.0})
@example({"a": True}, {"a": 1})
@example({"a": None}, {})
@example({"\u00e9": 1}, {"e\u0301": 1})
@example({"a": 1, "b": 2}, {"b": 2, "a": 1})
def test_the_bytes_are_equal_exactly_where_the_facts_are(one: Any, other: Any) -> None:
    assert (question(one) == question(other)) == (exactly(one) == exactly(other))


@given(values)
def test_the_bytes_say_the_whole_of_the_facts(value: Any) -> None:
    said = orjson.loads(question(value))
    assert exactly(said) == exactly({"action": {"arguments": value}})


def test_no_text_of_an_agent_leads_out_of_its_place() -> None:
    forged = 'a","claims":{"role":"admin"},"x":"'
    read = plan(("agent", "id"), ("agent", "claims", "role"))
    asked = read.facts(a_request(), Subject(forged, Assurance.JWT, claims={}), NOW).question
    assert orjson.loads(asked) == {"agent": {"id": forged, "claims": {}}}


@pytest.mark.parametrize(
    ("paths", "arguments", "asked"),
    [
        ([("a.b",)], {"a": {"b": 1}}, {}),
        ([("a", "b")], {"a.b": 1}, {}),
        ([("a.b",), ("a", "b")], {"a.b": 1, "a": {"b": 2}}, {"a.b": 1, "a": {"b": 2}}),
        ([("\u00e9",)], {"e\u0301": 1}, {}),
        ([("a",)], {"A": 1, "a ": 2, "a\x00": 3}, {}),
        ([("",)], {"": 1, "a": 2}, {"": 1}),
        ([("0",)], [7], [7]),
        ([("__class__",), ("items",)], {"a": 1}, {}),
    ],
)
def test_names_that_look_alike_are_different_facts(
    paths: list[tuple[str, ...]], arguments: Any, asked: Any
) -> None:
    assert orjson.loads(question(arguments, *((*ARGUMENTS, *path) for path in paths))) == {
        "action": {"arguments": asked}
    }


@pytest.mark.parametrize(
    "claim", [{1: 2}, {True: 1}, {None: 1}, "\ud800", {"\udfff": 1}, {"a": 1 << 65}, {b"a": 1}, {(): 1}]
)
def test_what_json_cannot_say_is_denied_and_never_said_otherwise(claim: Any) -> None:
    read = plan(("agent", "claims"))
    with pytest.raises(Denied) as denied:
        read.facts(a_request(), Subject("a", Assurance.JWT, claims={"x": claim}), NOW)
    assert denied.value.reason is Reason.MALFORMED_REQUEST


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_number_that_json_lacks_is_not_a_null(number: float) -> None:
    """No reader of ours makes one; if one did, the fact would be another than was meant."""
    with pytest.raises(ValueError, match="not JSON"):
        parse(str(number).encode(), 8)


def test_nesting_without_an_end_is_denied() -> None:
    deep: Any = "x"
    for _ in range(300):
        deep = {"a": deep}
    with pytest.raises(Denied) as denied:
        question(deep)
    assert denied.value.reason is Reason.MALFORMED_REQUEST


def bodies() -> Iterator[Any]:
    yield MISSING
    for text in ALIKE:
        yield parse(text.encode(), 8)


def test_the_bodies_that_look_alike_do() -> None:
    """That they are different, and some equal once normalised: otherwise they would show nothing."""
    assert len(set(ALIKE)) == len(ALIKE)
    normal = {
        unicodedata.normalize("NFKC", parse(text.encode(), 8).get("a") or "")
        for text in ALIKE
        if '"a": "' in text
    }
    assert len(normal) < sum('"a": "' in text for text in ALIKE)


async def test_no_body_gets_the_verdict_that_was_kept_for_another(tmp_path: Path) -> None:
    """A real OPA says what it was asked; each body is put after every other one has been."""
    told = 'object.get(input.action, "arguments", "missing")'
    rego = (
        f'decision := {{"decision": "allow", "reason_code": "told", "rule": said}}\n\n'
        f"said := json.marshal([type_name({told}), {told}])"
    )
    version = version_of(tmp_path, rego)
    async with opa_with(version) as process, started(process.socket) as policy:
        told_of: dict[int, str] = {}
        for turn in (1, 2):
            for number, body in enumerate(bodies()):
                facts = policy.question(acting(body), SUBJECT, NOW)
                kept = policy.lookup(facts)
                assert (kept is None) == (turn == 1), body
                verdict = kept or await policy.evaluate(facts, lambda facts=facts: facts, 5)
                assert verdict.rule == told_of.setdefault(number, verdict.rule)
    assert len(set(told_of.values())) == len(ALIKE) + 1


async def test_no_agent_gets_the_verdict_that_was_kept_for_another(tmp_path: Path) -> None:
    """Agents whose names, chains and claims are made of the same texts, in every order."""
    rego = (
        f'{DENY}decision := {ALLOW} if {{\n\tinput.agent.id == "admin"\n\tnot input.agent.claims.guest\n'
        '\tevery link in input.agent.chain { link != "outside" }\n}'
    )
    version = version_of(tmp_path, rego)
    agents = [
        Subject(name, Assurance.JWT, chain=chain, claims=claims)
        for name in ("admin", "admin ", "Admin", "outside", '{"id":"admin"}')
        for chain in ((), ("admin",), ("outside",), ("admin", "outside"), ("adminoutside",))
        for claims in ({}, {"guest": True}, {"guest": False}, {"guest": None}, {"id": "admin"})
    ]
    async with opa_with(version) as process, started(process.socket) as policy:
        allowed: list[Subject] = []
        for agent in [*agents, *agents[::-1]]:
            facts = policy.question(a_request(), agent, NOW)
            verdict = policy.lookup(facts) or await policy.evaluate(facts, lambda facts=facts: facts, 5)
            if verdict.decision == "allow":
                allowed.append(agent)
        hits = policy.cache.hits
    expected = [
        agent
        for agent in agents
        if agent.agent_id == "admin"
        and "outside" not in agent.chain
        and agent.claims.get("guest", False) is False  # a null is there
    ]
    assert allowed == [*expected, *expected[::-1]]
    assert hits > len(agents)  # claims that policy does not read make no other question


async def test_a_huge_question_is_asked_each_time_and_pushes_nothing_out(tmp_path: Path) -> None:
    rego = f"{DENY}decision := {ALLOW} if count(input.action.arguments.text) > {LARGEST_QUESTION}"
    version = version_of(tmp_path, rego)
    async with opa_with(version) as process, started(process.socket, size=2) as policy:
        small = policy.question(acting({"text": "x"}), SUBJECT, NOW)
        await policy.evaluate(small, lambda: small, 5)
        for length in range(LARGEST_QUESTION + 1, LARGEST_QUESTION + 9):
            facts = policy.question(acting({"text": "x" * length}), SUBJECT, NOW)
            assert policy.lookup(facts) is None
            assert (await policy.evaluate(facts, lambda facts=facts: facts, 5)).decision == "allow"
            assert policy.lookup(facts) is None
        assert policy.lookup(small) is not None
