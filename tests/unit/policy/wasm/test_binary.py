"""The reader of WebAssembly binaries: what it writes is a module, and what is damaged is refused."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
import wasmtime

from authz.policy.opa_tool import OpaTool
from authz.policy.wasm.binary import Binary, ModuleRefused, constant, instructions, unsigned
from authz.policy.wasm.compiling import compile_wasm
from authz.policy.wasm.repaired import repair
from authz.policy.wasm.strict import make_strict

REGO = b'package aegis\n\ndecision := concat(",", {x | some x in input.a; count(x) > max(input.b)})\n'


@cache
def module() -> bytes:
    return compile_wasm({"/aegis/decision.rego": REGO}, ["aegis/decision"], OpaTool())


def is_valid(data: bytes) -> bool:
    wasmtime.Module.validate(wasmtime.Engine(), data)  # raises for one that is not
    return True


def test_what_is_read_and_written_is_the_same_module_without_its_names() -> None:
    binary = Binary(module())
    written = binary.encode()
    assert is_valid(written)
    again = Binary(written)
    assert (again.bodies, again.types, again.imports) == (binary.bodies, binary.types, binary.imports)
    assert (again.names, "opa_eval" in binary.names.values()) == ({}, True)


def test_every_instruction_of_every_rule_is_known_and_they_cover_the_body() -> None:
    binary = Binary(module())
    rules = [index for index, name in binary.names.items() if name.startswith("g0.data.")]
    assert rules
    for index in rules:
        found = list(instructions(binary.body(index)))
        assert found[-1].end == len(binary.body(index))
        assert all(one.end == two.start for one, two in pairwise(found))


def test_it_is_valid_after_all_that_is_done_to_it() -> None:
    binary = Binary(module())
    repair(binary)
    sites = make_strict(binary)
    assert is_valid(binary.encode())
    assert {site.builtin for site in sites} == {"concat", "count", "max"}
    assert {site.rule for site in sites} == {"data.aegis.decision"}


@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_what_is_cut_short_is_refused(part: float) -> None:
    with pytest.raises(ModuleRefused):
        Binary(module()[: int(len(module()) * part)])


def test_a_module_of_somebody_elses_compiler_is_refused() -> None:
    foreign = Binary(bytes(wasmtime.wat2wasm('(module (import "a" "b" (func)) (func (nop)))')))
    for change in (repair, make_strict):
        with pytest.raises(ModuleRefused, match=r"has no (function|section)"):
            change(foreign)


@pytest.mark.parametrize("number", [0, 1, 63, 64, 127, 128, 8191, 8192, 1 << 20, (1 << 31) - 1])
def test_numbers_are_written_as_they_are_read(number: int) -> None:
    body = b"\x00" + constant(number) + b"\x0b"
    (found, _) = instructions(body)
    assert (found.opcode, found.end) == (0x41, len(body) - 1)
    assert Binary(_with_constant(number)) is not None
    assert unsigned(number)[-1] < 0x80


def _with_constant(number: int) -> bytes:
    """A module that gives `number`, so that wasmtime reads it, too."""
    text = '(module (import "a" "b" (func)) (func (export "f") (result i32) (i32.const 0)))'
    binary = Binary(bytes(wasmtime.wat2wasm(text)))
    binary.replace(1, b"\x00" + constant(number) + b"\x0b")
    store = wasmtime.Store()
    loaded = wasmtime.Module(store.engine, binary.encode())
    nothing = wasmtime.Func(store, wasmtime.FuncType([], []), lambda: None)
    exported = wasmtime.Instance(store, loaded, [nothing]).exports(store)["f"]
    assert isinstance(exported, wasmtime.Func)
    assert exported(store) == number
    return binary.encode()
