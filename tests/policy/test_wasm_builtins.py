"""The table of built-ins, held against the pinned OPA: what is missing, fails, or answers otherwise.

Every built-in that OPA knows is compiled in one rule of its own; OPA in strict mode and the embedded engine
are asked the same questions over values of every type. AEGIS_WASM_QUESTIONS is how many for each.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import tarfile
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from authz.errors import Denied
from authz.policy.engine_opa import OpaEngine
from authz.policy.opa_tool import OpaTool
from authz.policy.wasm.binary import CALL, MODULE, Binary, instructions
from authz.policy.wasm.builtins import BUILTINS, Outcome
from authz.policy.wasm.program import Bounds, Program
from authz.values import MISSING, Reason
from tests.policy.opa import OpaProcess, opa, write

QUESTIONS: Final = int(os.environ.get("AEGIS_WASM_QUESTIONS", "60"))
BOUNDS: Final = Bounds(64_000_000, 50_000_000)
# `eq` and `assign` are unification; the others have no value, or are gone when policy is compiled.
NOT_CALLED: Final = frozenset(
    "assign eq print internal.print internal.test_case rego.metadata.chain rego.metadata.rule".split()
)


# Where OPA would count that far, or take as much memory.
UP_TO: Final = frozenset(("numbers.range", "bits.lsh", "bits.rsh"))


def a_set(*members: Any) -> dict[str, Any]:
    return {"$set": list(members)}


NUMBERS: Final = [0, 1, 2, 3, -1, 7, 10, 16, 255, 2.5, 0.1, 0.3, (1 << 53) - 1, 1 - (1 << 53)]
STRINGS: Final = [
    *("", "a", "b", "A", "é", "ß", "Ω", "aé𝄞b", "%", " a ", "[", "(", "a*", "^a$", "(?i)A", "\\d+", "a.b"),
    *("*", "{a,b}", "10.0.0.0/8", "10.1.2.3", "10.1.0.0/16", "192.168.0.0/16", "::1/64", "2001:db8::/32"),
    *("1", "0x10", "1e3", "YQ==", "YQ", "!!", '{"a":1}', "[1", "null", "g"),
]
ARRAYS: Final = [
    [],
    ["a"],
    ["b", "a"],
    [2, 1],
    [1, "a"],
    [[1], [2]],
    [{"a": 1}, {"a": {"b": 2}}],
    [["a", "b"]],
]
OBJECTS: Final = [{}, {"a": 1}, {"a": {"b": 2}}, {"b": "a", "a": "b"}, {"a": ["b"], "b": ["a"]}, {"": "x"}]
SETS: Final = [a_set(), a_set("b", "a", "c"), a_set(2, 1), a_set(a_set(1), a_set(2, 1)), a_set("zeta", "m")]
VALUES: Final = [None, True, False, *NUMBERS, *STRINGS, *ARRAYS, *OBJECTS, *SETS]
OF_TYPE: Final = {"string": STRINGS, "number": NUMBERS, "array": ARRAYS, "object": OBJECTS, "set": SETS}

# Sets cannot be sent: they come as {"$set": [...]}.
HEAD: Final = """package t

one(x) := {y | some y in x["$set"]} if {
	is_object(x)
	x["$set"]
} else := x

value(x) := {one(y) | some y in x["$set"]} if {
	is_object(x)
	x["$set"]
} else := [one(y) | some y in x] if {
	is_array(x)
} else := x

a := [value(x) | some x in input.a]

"""


@cache
def known() -> dict[str, dict[str, Any]]:
    """What OPA says of the built-ins that can be called, by their names."""
    listed = OpaTool().json(["capabilities", "--current"], Path())["builtins"]
    called = [item for item in listed if not item.get("deprecated") and item["name"] not in NOT_CALLED]
    return {item["name"]: item["decl"] for item in called if item["decl"].get("result")}


def rule_of(name: str) -> str:
    return "r_" + name.replace(".", "_")


def rules(names: list[str]) -> str:
    text = HEAD
    for name in names:
        arguments = ", ".join(f"a[{place}]" for place in range(len(known()[name].get("args", []))))
        call = "[[p, v] | walk(a[0], [p, v])]" if name == "walk" else f"{name}({arguments})"
        text += f'{rule_of(name)} := {{"value": {call}}}\n\n'
    return text


def compiled(directory: Path, names: list[str]) -> bytes:
    """OPA's module with an entry point for each."""
    tree = write(directory / "tree", {"t/t.rego": rules(names)})
    entries = [argument for name in names for argument in ("-e", f"t/{rule_of(name)}")]
    OpaTool().run(["build", "-t", "wasm", "-b", ".", "-o", "../out.tar.gz", *entries], tree)
    with tarfile.open(directory / "out.tar.gz") as tar:
        stream = tar.extractfile(MODULE)
        assert stream
        return stream.read()


def test_the_table_has_the_built_ins_that_opas_compiler_has_and_the_functions_that_it_calls(
    tmp_path: Path,
) -> None:
    names = [name for name, decl in known().items() if len(decl.get("args", [])) <= 4]
    assert len(names) == len(known())
    binary = Binary(compiled(tmp_path, names))
    calls: dict[str, set[str]] = {}
    for index, function in binary.names.items():
        if function.startswith("g0.data.t.r_"):
            found = {
                binary.names[item.first] for item in instructions(binary.body(index)) if item.opcode == CALL
            }
            calls[function.removeprefix("g0.data.t.")] = found
    hosts = {name for name in names if any(one.startswith("opa_builtin") for one in calls[rule_of(name)])}
    assert set(names) - hosts == BUILTINS.keys()
    for name, builtin in BUILTINS.items():
        assert builtin.function in calls[rule_of(name)], name


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("builtins") / "tree", {"t/t.rego": rules(list(BUILTINS))})


@pytest.fixture
async def process(asked: Path) -> AsyncIterator[OpaProcess]:
    async with opa("-b", str(asked)) as started:
        yield started


async def answers(process: OpaProcess, name: str, questions: list[bytes]) -> list[Any]:
    """What OPA says in strict mode: a value, MISSING, or `error`."""
    engine = OpaEngine(process.socket, f"t/{rule_of(name)}", connections=4)

    async def ask(question: bytes) -> Any:
        try:
            result = (await engine.decide(question, 30)).result
        except Denied as denied:
            return "error" if denied.reason is Reason.POLICY_ERROR else f"OPA: {denied}"
        return result if result is MISSING else result["value"]

    found = await asyncio.gather(*map(ask, questions))
    await engine.close()
    return found


def embedded(program: Program, question: bytes) -> Any:
    try:
        result = program.decide(question)
    except Denied as denied:
        return "error" if denied.reason is Reason.POLICY_ERROR else str(denied.reason)
    return result if result is MISSING else result["value"]


def questions_for(name: str) -> list[bytes]:
    """Every value where that is few, else a choice that is mostly of the types that the built-in takes."""
    random, arguments = Random(name), known()[name].get("args", [])
    values = [value for value in VALUES if name not in UP_TO or value not in (NUMBERS[-2:])]
    pools = [[v for v in OF_TYPE.get(each["type"], VALUES) if v in values] for each in arguments]
    if len(VALUES) ** len(pools) <= 2 * QUESTIONS:
        chosen: Any = itertools.product(values, repeat=len(pools))
    else:
        chosen = (
            [random.choice(pool if random.random() < 0.85 else values) for pool in pools]
            for _ in range(QUESTIONS)
        )
    return [json.dumps({"a": list(values)}).encode() for values in chosen]


def same(one: Any, other: Any) -> bool:
    """As JSON; numbers beyond 2^53 as doubles, which nothing that decides may hold."""
    return bool(_plain(one) == _plain(other))


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, str)) or value is None or value is MISSING:
        return (type(value), value)
    if isinstance(value, (int, float)):
        exact = abs(value) < 1 << 53 and (isinstance(value, int) or value.is_integer())
        return int(value) if exact else float(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value]


def test_two_answers_are_the_same_only_if_they_are() -> None:
    assert same([1, {"a": 2.0}], [1.0, {"a": 2}])
    assert not same(1, True)
    assert not same(0, "0")
    assert not same(MISSING, "error")
    assert not same(["a", "b"], ["b", "a"])


@pytest.mark.timeout(600)
async def test_what_may_be_published_answers_as_opa_does_in_strict_mode(
    tmp_path: Path, process: OpaProcess
) -> None:
    names = [name for name, builtin in BUILTINS.items() if builtin.outcome is not Outcome.DIFFERS]
    module = compiled(tmp_path, names)
    failed, wrong = set(), list[str]()
    program = Program(module, b"{}", f"t/{rule_of(names[0])}", BOUNDS)
    entries = program.entries
    for name in names:
        questions = questions_for(name)
        program.entry = entries[f"t/{rule_of(name)}"]
        for question, expected in zip(questions, await answers(process, name, questions), strict=True):
            found = embedded(program, question)
            if expected == "error":
                failed.add(name)
            if not same(expected, found):
                wrong.append(f"{name} {question.decode()}: OPA {expected!r}, embedded {found!r}")
    assert not wrong, "\n".join(wrong[:20])
    assert failed == {name for name in names if BUILTINS[name].outcome is not Outcome.TOTAL}


@pytest.mark.timeout(600)
async def test_what_is_refused_does_answer_otherwise(tmp_path: Path, process: OpaProcess) -> None:
    """With what a failed built-in is in a module that nobody made strict: undefined."""
    names = [name for name, builtin in BUILTINS.items() if builtin.outcome is Outcome.DIFFERS]
    program = Program(compiled(tmp_path, names), b"{}", f"t/{rule_of(names[0])}", BOUNDS, strict=False)
    entries = program.entries
    agreed = []
    for name in names:
        questions = questions_for(name)
        questions += [json.dumps({"a": WITNESSES[name]}).encode()] if name in WITNESSES else []
        program.entry = entries[f"t/{rule_of(name)}"]
        found = await answers(process, name, questions)
        if all(
            same(MISSING if expected == "error" else expected, embedded(program, question))
            for question, expected in zip(questions, found, strict=True)
        ):
            agreed.append(name)
    assert agreed == []


# Where a random question may not show it.
WITNESSES: Final[dict[str, list[Any]]] = {
    "bits.lsh": [0, 1 << 31],
    "bits.rsh": [1, 1 << 40],
    "div": [1, (1 << 53) - 1],
    "format_int": [1 << 40, 10],
    "indexof": ["a", ""],
    "json.is_valid": ["10.1.2.3"],
    "json.unmarshal": ["10.1.2.3"],
    "regex.find_all_string_submatch_n": ["", "b", -2],
    "replace": ["ab", "", "c"],
    "strings.replace_n": [{"": "x"}, "Ω"],
}
