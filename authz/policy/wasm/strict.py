"""Makes a failing built-in an error, as OPA's strict mode does, instead of an undefined value.

In: a module as `opa build -t wasm` made it. Out: the module with a check after every call of a built-in that
can fail (`builtins.py`), and what each check is about. OPA's compiler writes such a call as

    ARGUMENT*   call $f   local.tee $x   i32.eqz   br_if 0

so that a failed one (0) makes the expression undefined, and here it becomes

    ARGUMENT*   call $f   local.tee $x   i32.eqz   if   FAIL   end   local.get $x   i32.eqz   br_if 0
    FAIL = i32.const SITE   i32.const 0   call $opa_builtin0   unreachable

where `opa_builtin0` is a function of the host, unused otherwise since policy may have no built-ins of the
host's. FAIL of one that is undefined for an empty collection is itself in an `if` of its argument's type.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from authz.policy.wasm.binary import (
    BR_IF,
    CALL,
    I32_EQZ,
    LOCAL_GET,
    LOCAL_TEE,
    Binary,
    Instruction,
    ModuleRefused,
    constant,
    instructions,
)
from authz.policy.wasm.builtins import BUILTINS, Builtin, Outcome

# A rule, or the plan of the entry points; everything else is OPA's runtime.
_RULE: Final = re.compile(r"g[0-9]+\.(data\..+)|eval")
_HOST: Final = "opa_builtin0"
# Types 5 and 7 are array and set: i32.load8_u; i32.const 2; i32.or; i32.const 7; i32.ne; if
_NOT_A_COLLECTION: Final = b"\x2d\x00\x00\x41\x02\x72\x41\x07\x47\x04\x40"
_CHECKED: Final = {
    builtin.function: builtin for builtin in BUILTINS.values() if builtin.outcome is not Outcome.TOTAL
}


class Site(Struct, frozen=True):
    """A call that may fail: of which built-in, in which rule."""

    builtin: str
    rule: str


def make_strict(binary: Binary) -> tuple[Site, ...]:
    """Check every call that can fail. Raises ModuleRefused for one that OPA's compiler does not write so,
    or of a built-in that answers otherwise than OPA's.
    """
    checked = {index: _CHECKED[name] for index, name in binary.names.items() if name in _CHECKED}
    host, sites = binary.index(_HOST), list[Site]()
    for index, name in binary.names.items():
        rule = _RULE.fullmatch(name)
        if rule and index >= binary.imported:
            body = _checked(binary.body(index), checked, host, rule[1] or name, sites)
            binary.replace(index, body)
    return tuple(sites)


def _checked(body: bytes, checked: dict[int, Builtin], host: int, rule: str, sites: list[Site]) -> bytes:
    found, parts, done = list(instructions(body)), list[bytes](), 0
    for place, call in enumerate(found):
        if call.opcode != CALL or call.first not in checked:
            continue
        builtin, before = checked[call.first], found[place - 1]
        tee, zero, branch = found[place + 1 : place + 4]
        if builtin.outcome is Outcome.DIFFERS:
            raise ModuleRefused(f"policy.wasm: {builtin.name} in {rule} may answer otherwise than OPA")
        by_argument = builtin.outcome is Outcome.EMPTY
        if not _as_compiled(tee, zero, branch) or (by_argument and before.opcode != LOCAL_GET):
            raise ModuleRefused(f"policy.wasm: {builtin.name} in {rule}: called in an unknown way")
        fail = constant(len(sites)) + constant(0) + bytes((CALL, host, 0x1A, 0x00))
        if by_argument:
            fail = body[before.start : before.end] + _NOT_A_COLLECTION + fail + b"\x0b"
        again = bytes((LOCAL_GET,)) + body[tee.start + 1 : tee.end]
        parts += [body[done : zero.end], b"\x04\x40", fail, b"\x0b", again, body[zero.start : branch.end]]
        done = branch.end
        sites.append(Site(builtin.name, rule))
    return b"".join((*parts, body[done:]))


def _as_compiled(tee: Instruction, zero: Instruction, branch: Instruction) -> bool:
    shape = (tee.opcode, zero.opcode, branch.opcode, branch.first)
    return shape == (LOCAL_TEE, I32_EQZ, BR_IF, 0)
