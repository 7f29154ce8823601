"""Puts our functions into a module where OPA's WebAssembly runtime answers otherwise than OPA.

In: a module as `opa build -t wasm` made it. Out: the module with `opa_value_iter` replaced, so that sets and
objects have the order that OPA gives them, and the built-ins of `_BUILTINS`; and the exported global `TABLE`,
which the host sets to `TABLE_SIZE` bytes of its memory. Each `.wat` says what would differ without it.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

from wasmtime import wat2wasm

from authz.policy.wasm.binary import CALL, GLOBAL_GET, Binary, instructions, unsigned

TABLE: Final = "aegis_order"
TABLE_SIZE: Final = 16 + 256 * 16
_ITER: Final = "opa_value_iter"
# Only where policy uses them: OPA's compiler drops the others.
_BUILTINS: Final = {"opa_strings_concat": "concat.wat", "builtin_object_union_n": "union_n.wat"}


def repair(binary: Binary) -> None:
    """Raises ModuleRefused for a module whose runtime is not OPA's."""
    table = binary.add_global(TABLE)
    _replace(binary, _ITER, "ordered.wat", table)
    for name in sorted(_BUILTINS.keys() & set(binary.names.values())):
        _replace(binary, name, _BUILTINS[name], table)


def _replace(binary: Binary, name: str, file: str, table: int) -> None:
    """Make the first function of `file` the one called `name`; what it imports as that is the old one."""
    text = resources.files("authz.policy.wasm").joinpath(file).read_text()
    ours, target = Binary(bytes(wat2wasm(text))), binary.index(name)
    old = binary.add(target, binary.body(target))
    calls = [old if needed == name else binary.index(needed) for needed in ours.imports]
    calls += [target, *(binary.add(target, b"") for _ in ours.bodies[1:])]
    for index, body in zip(calls[ours.imported :], ours.bodies, strict=True):
        binary.replace(index, _linked(body, calls, table))


def _linked(body: bytes, calls: list[int], table: int) -> bytes:
    """The body with its own module's indices replaced by those of the module that it goes into."""
    parts, done = list[bytes](), 0
    for item in instructions(body):
        if item.opcode in (CALL, GLOBAL_GET):
            target = calls[item.first] if item.opcode == CALL else table
            parts += [body[done : item.start], bytes((item.opcode,)), unsigned(target)]
            done = item.end
    return b"".join((*parts, body[done:]))
