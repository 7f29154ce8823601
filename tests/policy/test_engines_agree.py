"""Both engines are asked the same: the default library about samples of every form, and generated Rego."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.errors import Denied
from authz.policy.engine_opa import OpaEngine
from authz.policy.version import PolicyVersion, build_bundle
from authz.policy.wasm.program import Program
from tests.policy.grammar import FORMS
from tests.policy.opa import opa_with, signing_key
from tests.policy.test_library import REGO
from tests.policy.test_library_inputs import INVOICE, READ, anything, one_replaced, paths, replaced
from tests.policy.wasm import program_of

EXAMPLES: Final = int(os.environ.get("AEGIS_PROPERTY_EXAMPLES", "15"))
POSSIBLE: Final = [form for form in FORMS if not re.search(r'sprintf|\$"', str(form))]
KINDS: Final = [None, True, 0, 7.5, "", "x", "*", "/", [], ["x"], {}, {"x": 1}]


@cache
def version() -> PolicyVersion:
    out = signing_key().parent / "library-wasm"
    return build_bundle(REGO, out, version="v1.3.2", signing_key=signing_key(), wasm=True)


class Both:
    """One version in a real OPA and in the embedded engine, for tests that cannot await."""

    def __init__(self, runner: asyncio.Runner, opa: OpaEngine, embedded: Program) -> None:
        self._runner, self._opa, self._embedded = runner, opa, embedded

    def agree(self, documents: list[Any]) -> Counter[str]:
        """What was decided, by decision. Raises AssertionError with the first question that parts them."""
        questions = [orjson.dumps(document) for document in documents]
        seen: Counter[str] = Counter()
        for question, expected in zip(questions, self._runner.run(self._ask(questions)), strict=True):
            found = decided(self._embedded, question)
            assert found == expected, question.decode()
            seen[found["decision"] if isinstance(found, dict) else str(found)] += 1
        return seen

    async def _ask(self, questions: list[bytes]) -> list[Any]:
        return await asyncio.gather(*(opa_says(self._opa, question) for question in questions))


def decided(embedded: Program, question: bytes) -> Any:
    """The result, or the denial's reason."""
    try:
        return embedded.decide(question)
    except Denied as denied:
        return str(denied.reason)


async def opa_says(engine: OpaEngine, question: bytes) -> Any:
    try:
        return (await engine.decide(question, 30)).result
    except Denied as denied:
        return str(denied.reason)


@pytest.fixture(scope="module")
def library() -> Iterator[Both]:
    with asyncio.Runner() as runner:
        opened = opa_with(version())
        process = runner.run(opened.__aenter__())
        engine = OpaEngine(process.socket, "aegis/decision", connections=4)
        yield Both(runner, engine, program_of(version()))
        runner.run(engine.close())
        runner.run(opened.__aexit__(None, None, None))


def test_they_agree_about_every_member_of_the_samples_as_something_else(library: Both) -> None:
    places = [(sample, path) for sample in (READ, INVOICE) for path in paths(sample)]
    documents = [replaced(sample, path, value) for sample, path in places for value in KINDS]
    seen = library.agree([READ, INVOICE, *documents])
    assert seen.keys() >= {"allow", "deny"}


@settings(max_examples=20 * EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(one_replaced.map(lambda change: replaced(*change)) | anything, min_size=1, max_size=20))
def test_they_agree_about_whatever_is_asked(library: Both, documents: list[Any]) -> None:
    library.agree(documents)
