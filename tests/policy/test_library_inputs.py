"""Attack: inputs of any form put to the default library. It always decides, and never allows what is odd."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.policy.engine_opa import OpaEngine
from authz.policy.verdict import read_verdict
from authz.values import Decision, Verdict
from tests.policy.opa import opa_with
from tests.policy.test_library import version

Document = dict[str, Any]
READ: Document = {
    "agent": {"id": "clinical-agent", "chain": ["clinical-agent"], "assurance": "jwt"},
    "action": {
        "kind": "http",
        "tool": "",
        "method": "GET",
        "resource": "/patients/7/records",
        "body": "none",
    },
    "destination": {"host": "internal-ehr.myorg.example", "port": 443},
    "parsed_query": {"since": ["2026-01-31"]},
}
INVOICE: Document = {
    "agent": {"id": "billing-agent", "chain": [], "assurance": "mtls"},
    "action": {
        "kind": "http",
        "tool": "",
        "method": "POST",
        "resource": "/invoices",
        "body": "parsed",
        "arguments": {"number": "R-1", "lines": [{"text": "visit", "cents": 4200}]},
    },
    "destination": {"host": "files.partner.example", "port": 80},
    "parsed_query": {},
}
Path = tuple[str | int, ...]


def paths(value: Any, here: Path = ()) -> Iterator[Path]:
    """Where something stands in `value`, the whole of it included."""
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield from paths(item, (*here, name))


def replaced(document: Document, path: Path, value: Any) -> Any:
    if not path:
        return value
    changed = deepcopy(document)
    inner: Any = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return changed


def kind(value: Any) -> str:
    """Its JSON type; `[]` and `{}` apart, since an empty one may mean that there is nothing."""
    if isinstance(value, (dict, list)) and not value:
        return "empty"
    return "number" if type(value) in (int, float) else type(value).__name__


scalars = (
    st.none() | st.booleans() | st.integers(-9, 1 << 54) | st.floats(allow_nan=False) | st.text(max_size=9)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
one_replaced = st.sampled_from([READ, INVOICE]).flatmap(
    lambda document: st.tuples(st.just(document), st.sampled_from(list(paths(document))), anything)
)


class Library:
    """The library in a real OPA, for tests that cannot await."""

    def __init__(self, runner: asyncio.Runner, engine: OpaEngine) -> None:
        self._runner = runner
        self._engine = engine

    def decides(self, documents: list[Any]) -> list[Verdict]:
        async def all_of_them() -> list[Verdict]:
            answers = [self._engine.decide(orjson.dumps(document), 10) for document in documents]
            return [read_verdict(answer.result) for answer in await asyncio.gather(*answers)]

        return self._runner.run(all_of_them())


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    with asyncio.Runner() as runner:
        opened = opa_with(version())
        process = runner.run(opened.__aenter__())
        engine = OpaEngine(process.socket, "aegis/decision", connections=2)
        yield Library(runner, engine)
        runner.run(engine.close())
        runner.run(opened.__aexit__(None, None, None))


def test_without_a_change_both_are_allowed(library: Library) -> None:
    assert [verdict.decision for verdict in library.decides([READ, INVOICE])] == [Decision.ALLOW] * 2


def test_whatever_one_member_becomes_there_is_a_decision_and_another_type_is_no_allow(
    library: Library,
) -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(one_replaced, min_size=10, max_size=10))
    def check(changes: list[tuple[Document, Path, Any]]) -> None:
        verdicts = library.decides([replaced(*change) for change in changes])
        for (document, path, value), verdict in zip(changes, verdicts, strict=True):
            seen[verdict.reason_code] += 1
            before: Any = document
            for step in path:
                before = before[step]
            if kind(before) != kind(value) and "empty" not in (kind(before), kind(value)):
                assert verdict.decision is Decision.DENY, (path, value)

    check()
    assert {"agent_unknown", "egress_violation", "tool_unknown", "argument_not_permitted"} <= seen.keys()


def test_any_document_at_all_is_denied(library: Library) -> None:
    names = ["agent", "action", "destination", "parsed_query"]

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(anything | st.dictionaries(st.sampled_from(names), anything), min_size=10, max_size=10))
    def check(documents: list[Any]) -> None:
        assert {verdict.decision for verdict in library.decides(documents)} == {Decision.DENY}

    check()


def test_a_member_left_out_is_no_allow(library: Library) -> None:
    documents = []
    for document in (READ, INVOICE):
        for path in paths(document):
            if path and path[0] != "parsed_query" and path[-1] != "arguments" and len(path) <= 2:
                changed = replaced(document, path, None)
                inner = changed if len(path) == 1 else changed[path[0]]
                del inner[path[-1]]
                documents.append(changed)
    assert len(documents) > 15
    assert {verdict.decision for verdict in library.decides(documents)} == {Decision.DENY}


def test_a_body_of_the_greatest_size_is_denied_by_count(library: Library) -> None:
    many = replaced(INVOICE, ("action", "arguments", "lines"), [{"text": "a", "cents": 1}] * 2400)
    (verdict,) = library.decides([many])
    assert (verdict.decision, verdict.reason_code) == (Decision.DENY, "argument_not_permitted")
    assert verdict.rationale == ("policy-violation", "lines[].cents: max_count", "lines[].text: max_count")
