"""Both engines are asked the same: the default library about samples of every form, and generated Rego."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from authz.errors import Denied
from authz.policy.engine_opa import OpaEngine
from authz.policy.wasm.builtins import BUILTINS, Outcome
from authz.policy.wasm.program import Program
from authz.values import MISSING
from tests.policy.bundles import PolicyVersion, build_bundle
from tests.policy.generated import Source, requests, sources, subjects
from tests.policy.grammar import FORMS, Form
from tests.policy.opa import NOW, OpaProcess, opa_with, signing_key, stage, version_of
from tests.policy.pruning import built, whole
from tests.policy.test_library import REGO
from tests.policy.test_library_inputs import INVOICE, READ, anything, one_replaced, paths, replaced
from tests.policy.test_wasm_builtins import known
from tests.policy.wasm import program_of

EXAMPLES: Final = int(os.environ.get("AEGIS_PROPERTY_EXAMPLES", "15"))
MISSED: Final = "<scalar> in {<word>, <scalar2>}"
KINDS: Final = [None, True, 0, 7.5, "", "x", "*", "/", [], ["x"], {}, {"x": 1}]


@cache
def version() -> PolicyVersion:
    out = signing_key().parent / "library-wasm"
    return build_bundle(REGO, out, version="v1.3.2", signing_key=signing_key(), wasm=True)


def possible() -> list[Form]:
    """The forms that may be published with --wasm."""
    refused = [name for name in known() if name not in BUILTINS or BUILTINS[name].outcome is Outcome.DIFFERS]
    names = "|".join(map(re.escape, refused))
    called = re.compile(rf'(?<![\w.])(?:{names})\b|\$"| / ')
    return [
        form
        for form in FORMS
        if form.condition != MISSED and not any(map(called.search, (form.condition, *form.rules)))
    ]


async def test_where_they_part_opa_is_wrong(tmp_path: Path) -> None:
    """OPA's index of rules loses a rule that asks for membership in a literal with a member that is no
    constant (1.22.0). When this fails the form may be compared again.
    """
    made = version_of(tmp_path, 'decision := "member" if input.a in {"x", input.b}', wasm=True)
    async with opa_with(made) as process:
        engine = OpaEngine(process.socket, "aegis/decision", connections=1)
        of_opa = await opa_says(engine, b'{"a":"y","b":"y"}')
        await engine.close()
    assert (of_opa, decided(program_of(made), b'{"a":"y","b":"y"}')) == (MISSING, "member")


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


@pytest.mark.timeout(300)
def test_they_agree_about_generated_policies() -> None:
    """Of all forms but those that are refused with --wasm. A built-in that fails where only one of them looks
    is an error there, and a denial; that is rare.
    """
    seen: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),  # a smaller one would take minutes to find
        suppress_health_check=list(HealthCheck),
    )
    @given(sources(possible()), st.lists(st.tuples(requests(), subjects), min_size=1, max_size=16))
    def run(source: Source, asked: list[Any]) -> None:
        note(str(source))
        seen.update(compare(source, asked))

    run()
    assert seen.keys() >= {"defined", "undefined"}
    assert seen["looked further"] * 20 < seen.total(), seen


def compare(source: Source, asked: list[Any]) -> Counter[str]:
    seen: Counter[str] = Counter()
    plain = {
        name: text.replace('sprintf("%v", [x])', "json.marshal(x)") for name, text in source.files.items()
    }
    with built(Source(plain, source.entry_points), wasm=True) as made:
        embedded = program_of(made, source.entry_points[0])
        for entry, question, expected in asyncio.run(_answers(made, source.entry_points, asked)):
            embedded.entry = embedded.entries[entry]
            found = decided(embedded, question)
            if "policy_error" in (found, expected) and found != expected:
                seen["looked further"] += 1
                continue
            assert found == expected, (entry, question.decode())
            kind = "undefined" if found is MISSING else "defined"
            seen[found if isinstance(found, str) else kind] += 1
    return seen


async def _answers(
    made: PolicyVersion, entries: Sequence[str], asked: list[Any]
) -> list[tuple[str, bytes, Any]]:
    """OPA's answers to whole inputs of the cases, at each entry point."""
    found = []
    async with opa_with(made) as process:
        for entry in entries:
            questions = await _questions(process, entry, asked)
            engine = OpaEngine(process.socket, entry, connections=2)
            answers = await asyncio.gather(*(opa_says(engine, question) for question in questions))
            await engine.close()
            found += [(entry, *pair) for pair in zip(questions, answers, strict=True)]
    return found


async def _questions(process: OpaProcess, entry: str, asked: list[Any]) -> list[bytes]:
    policy = stage(process.socket, entry_point=entry, connections=1)
    await policy._look()
    whole(policy)
    questions = [policy.question(*case, NOW).question for case in asked]
    await policy.stop()
    return questions
