"""Evaluates one entry point of a policy version by OPA's WebAssembly, within limits.

In: the module and the data of a version, then questions. Out: what the entry point says, or Denied. Called by
`engine_wasm.py`, on the event loop: an evaluation ends when its fuel does, whatever the policy. It follows
OPA's ABI 1.2 (https://www.openpolicyagent.org/docs/wasm): one call of `opa_eval` an evaluation, the heap set
back to where it was when the data had been loaded.

An instance in which anything went wrong is never used again. The next one is a copy of the memory as it was
after loading, so that it costs no more when the data are large.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Any, Final, NoReturn

import orjson
from msgspec import Struct
from wasmtime import (
    Caller,
    Config,
    Engine,
    Func,
    FuncType,
    Global,
    Limits,
    Linker,
    Memory,
    MemoryType,
    Module,
    Store,
    Trap,
    TrapCode,
    Val,
    ValType,
    WasmtimeError,
)

from authz.errors import Denied, PolicyRejected
from authz.policy.engine import MAX_ANSWER
from authz.policy.wasm.binary import Binary, ModuleRefused
from authz.policy.wasm.repaired import TABLE, TABLE_SIZE, repair
from authz.policy.wasm.strict import Site, make_strict
from authz.values import MISSING, Reason

PAGE: Final = 1 << 16
_LOADING_FUEL: Final = 1 << 62
_FIRST_READ: Final = 4096
_MOST_DETAIL: Final = 160
_ABI: Final = (1, 2)
_REASONS: Final = {
    TrapCode.OUT_OF_FUEL: (Reason.ENGINE_FUEL, "the evaluation did not end within policy.wasm.fuel"),
    TrapCode.STACK_OVERFLOW: (Reason.ENGINE_TRAP, "the evaluation nests too deeply"),
}


class Bounds(Struct, frozen=True):
    """What one evaluation may use: bytes of memory, data included, and WebAssembly instructions."""

    memory: int
    fuel: int


class _Failed(Exception):
    """A built-in failed."""

    def __init__(self, site: Site) -> None:
        super().__init__(f"{site.builtin} in {site.rule}")


class _Aborted(Exception):
    """OPA's runtime gave up; its words are constants, or file and line of a conflict."""


class Program:
    """A version that can be asked: compiled, its data loaded. Making one takes a second, mostly of compiling.

    Unless it is `strict` a failing built-in is undefined. Raises PolicyRejected for a module that is not
    OPA's, or data beyond `bounds`.
    """

    def __init__(
        self, module: bytes, data: bytes, entry_point: str, bounds: Bounds, *, strict: bool = True
    ) -> None:
        binary = Binary(module)
        repair(binary)
        self.sites = make_strict(binary) if strict else ()
        self.bounds = bounds
        config = Config()
        config.consume_fuel = True
        self._engine = Engine(config)
        try:
            self._module = Module(self._engine, binary.encode())
            first = Instance(self)
            self._load(first, data, entry_point)
        except (_Aborted, OverflowError):
            raise PolicyRejected("data.json: needs more memory than policy.wasm.memory_mb") from None
        except (WasmtimeError, Trap, KeyError) as error:
            raise PolicyRejected(f"policy.wasm: {_first_line(error)}") from None
        self._image = first.image()
        self._instance: Instance | None = first

    def decide(self, question: bytes) -> Any:
        """The result, MISSING if it is undefined. Raises Denied: `policy_error` as OPA would, `engine_fuel`,
        `engine_memory`, `engine_trap`.
        """
        instance, self._instance = self._instance or self._copy(), None
        try:
            said = instance.evaluate(question)
        except (_Failed, _Aborted) as error:
            raise _denied(str(error)) from None
        except Trap as trap:
            raise _trapped(trap) from None
        self._instance = instance
        return _result(said)

    def _load(self, first: Instance, data: bytes, entry_point: str) -> None:
        abi = (first.constant("opa_wasm_abi_version"), first.constant("opa_wasm_abi_minor_version"))
        if abi[0] != _ABI[0] or abi[1] < _ABI[1]:
            raise ModuleRefused(f"policy.wasm: ABI {abi[0]}.{abi[1]}, not {_ABI[0]}.{_ABI[1]}")
        if first.json("builtins"):
            raise ModuleRefused("policy.wasm: needs built-ins that only a host could give it")
        self.entries: dict[str, int] = first.json("entrypoints")
        if entry_point not in self.entries:
            raise ModuleRefused(f"policy.wasm: has no entry point {entry_point}")
        self.entry = self.entries[entry_point]
        self.data, self.table, self.heap = first.load(data)

    def _copy(self) -> Instance:
        return Instance(self, self._image)

    def new(self, image: bytes) -> tuple[Store, Memory, dict[str, Any]]:
        """A store with fuel, its memory with at least the size of `image`, and the exports of the module."""
        store = Store(self._engine)
        store.set_fuel(_LOADING_FUEL)
        pages = Limits(max(2, len(image) // PAGE), self.bounds.memory // PAGE)
        memory = Memory(store, MemoryType(pages))
        linker = Linker(self._engine)
        linker.define(store, "env", "memory", memory)
        i32 = ValType.i32()

        # These may hold neither store nor memory: wasmtime keeps them for as long as there is the store.
        def abort(caller: Caller, address: int) -> NoReturn:
            memory = caller["memory"]
            text = text_at(memory, caller, address, _MOST_DETAIL) if isinstance(memory, Memory) else b"?"
            raise _Aborted(text.decode(errors="replace"))

        def failed(site: int, *_: int) -> NoReturn:
            raise _Failed(self.sites[site])

        aborting = Func(store, FuncType([i32], []), abort, access_caller=True)
        linker.define(store, "env", "opa_abort", aborting)
        for number in range(5):
            kind = FuncType([i32] * (number + 2), [i32])
            linker.define(store, "env", f"opa_builtin{number}", Func(store, kind, failed))
        exports = linker.instantiate(store, self._module).exports(store)
        return store, memory, {export.name: exports[export.name] for export in self._module.exports}


class Instance:
    """One memory of a program; for one evaluation at a time."""

    def __init__(self, program: Program, image: bytes = b"") -> None:
        self._program = program
        self._store, self._memory, self._exports = program.new(image)
        self._evaluate = self._exports["opa_eval"]
        if image:
            self._write(image, 0)
            self._set_table(program.table)

    def evaluate(self, question: bytes) -> bytes:
        """What `opa_eval` writes: the JSON of a result set."""
        program, store = self._program, self._store
        heap = program.heap
        after = heap + len(question)
        self._room(after)
        # The table's head is where the heap begins; the rest of it are slots of the evaluation before.
        self._write(struct.pack("<I", heap).ljust(TABLE_SIZE, b"\0"), program.table)
        self._write(question, heap)
        store.set_fuel(program.bounds.fuel)
        address = self._evaluate(store, 0, program.entry, program.data, heap, len(question), after, 0)
        return text_at(self._memory, store, address, MAX_ANSWER)

    def load(self, data: bytes) -> tuple[int, int, int]:
        """Parse the data; where they are, where the table is, and where the heap of evaluations begins."""
        exports, store = self._exports, self._store
        address = exports["opa_malloc"](store, len(data))
        self._write(data, address)
        value = exports["opa_json_parse"](store, address, len(data))
        if not value:
            raise ModuleRefused("data.json: not JSON")
        table = exports["opa_malloc"](store, TABLE_SIZE)
        self._set_table(table)
        return value, table, exports["opa_heap_ptr_get"](store)

    def json(self, export: str) -> Any:
        """What the exported function says of the module."""
        written = self._exports["opa_json_dump"](self._store, self._exports[export](self._store))
        return orjson.loads(text_at(self._memory, self._store, written, MAX_ANSWER))

    def constant(self, export: str) -> int:
        found = self._exports[export]
        return int(found.value(self._store)) if isinstance(found, Global) else 0

    def image(self) -> bytes:
        return bytes(self._memory.read(self._store))

    def _set_table(self, address: int) -> None:
        self._exports[TABLE].set_value(self._store, Val.i32(address))

    def _room(self, end: int) -> None:
        missing = end - self._memory.data_len(self._store)
        if missing > 0:
            try:
                self._memory.grow(self._store, -(-missing // PAGE))
            except WasmtimeError:
                raise _Aborted("memory") from None

    def _write(self, data: bytes, address: int) -> None:
        if address + len(data) > self._memory.data_len(self._store):
            raise OverflowError("the data are beyond policy.wasm.memory_mb")
        start = ctypes.addressof(self._memory.data_ptr(self._store).contents)
        ctypes.memmove(start + address, data, len(data))


def text_at(memory: Memory, store: Store | Caller, address: int, most: int) -> bytes:
    """The bytes from `address` to the next zero, which may be `most` bytes away, and no further than that."""
    size = _FIRST_READ
    while True:
        read = memory.read(store, address, address + min(size, most + 1))
        end = read.find(0)
        if end >= 0:
            return bytes(read[:end])
        if size > most:
            raise _Aborted(f"more than {most} bytes")
        size *= 16


def _result(said: bytes) -> Any:
    try:
        answer = orjson.loads(said)
    except orjson.JSONDecodeError:
        raise Denied(Reason.POLICY_ERROR, "the result is not JSON") from None
    return answer[0]["result"] if answer else MISSING


def _denied(what: str) -> Denied:
    if what.startswith(("opa_malloc: failed", "memory")):
        return Denied(Reason.ENGINE_MEMORY, "the evaluation needs more than policy.wasm.memory_mb")
    return Denied(Reason.POLICY_ERROR, f"wasm: {what[:_MOST_DETAIL]}")


def _trapped(trap: Trap) -> Denied:
    code = trap.trap_code
    known = _REASONS.get(code) if code else None
    return Denied(*(known or (Reason.ENGINE_TRAP, _first_line(trap))))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line.strip() for line in reversed(lines) if "wasm trap:" in line), lines[0])[:_MOST_DETAIL]
