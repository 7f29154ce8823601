"""Reads and writes a WebAssembly binary as far as OPA's compiler makes one: functions, their names, globals.

In: the bytes of a `policy.wasm`. Out: a Binary whose functions can be replaced and added to, and its bytes.
Called by `strict.py` and `repaired.py`. Raises ModuleRefused for whatever it does not know; it never guesses.

    module   = magic version section*           section = id:byte size:u32 bytes
    code     = vec(size:u32 locals instruction* 0x0B)
(WebAssembly Core Specification 2.0, chapter 5.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from authz.errors import PolicyRejected

MODULE: Final = "/policy.wasm"  # where it lies in a bundle
MAGIC: Final = b"\x00asm\x01\x00\x00\x00"
CALL: Final = 0x10
LOCAL_GET: Final = 0x20
LOCAL_TEE: Final = 0x22
GLOBAL_GET: Final = 0x23
I32_EQZ: Final = 0x45
BR_IF: Final = 0x0D
_IMPORT, _FUNCTION, _GLOBAL, _EXPORT, _CODE, _CUSTOM = 2, 3, 6, 7, 10, 0
# Immediates by opcode: how many LEB128 numbers follow. What is missing here has none, or is not known.
_NUMBERS: Final = (
    dict.fromkeys((0x02, 0x03, 0x04, 0x0C, BR_IF, CALL, 0x25, 0x26, 0x3F, 0x40, 0x41, 0x42), 1)
    | dict.fromkeys(range(0x20, 0x25), 1)
    | dict.fromkeys((0x11, *range(0x28, 0x3F)), 2)
)
_PLAIN: Final = frozenset((0x00, 0x01, 0x05, 0x0B, 0x0F, 0x1A, 0x1B, *range(0x45, 0xC5)))


class ModuleRefused(PolicyRejected):
    """A module that is not what OPA's compiler makes."""


class Instruction(Struct, frozen=True):
    """One instruction of a body: where it begins and ends, and its first immediate (0 if it has none)."""

    opcode: int
    first: int
    start: int
    end: int


def unsigned(number: int) -> bytes:
    """LEB128."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def constant(number: int) -> bytes:
    """`i32.const number`, 0 <= number < 2^31."""
    if number & 0x7F == number & 0x3F and number < 0x40:
        return bytes((0x41, number))
    out = bytearray((0x41,))
    while number > 0x3F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


class Binary:
    """A module's sections, with those that are changed here taken apart."""

    def __init__(self, data: bytes) -> None:
        if not data.startswith(MAGIC):
            raise ModuleRefused("policy.wasm: not a WebAssembly module")
        self._sections: list[tuple[int, bytes]] = []
        at = len(MAGIC)
        try:
            while at < len(data):
                size, start = _unsigned(data, at + 1)
                if start + size > len(data):
                    raise IndexError
                self._sections.append((data[at], data[start : start + size]))
                at = start + size
            self.imports = _imported(self._section(_IMPORT))
            self.types = list(_vector(self._section(_FUNCTION)))
            self.bodies = list(_chunks(self._section(_CODE)))
            self.names = _names(self._sections)
        except (IndexError, UnicodeDecodeError):
            raise ModuleRefused("policy.wasm: cut short, or damaged") from None
        if len(self.types) != len(self.bodies):
            raise ModuleRefused("policy.wasm: functions without code")

    @property
    def imported(self) -> int:
        """How many functions are imported; they have the first indices."""
        return len(self.imports)

    def index(self, name: str) -> int:
        """Of the function that the name section calls so. Raises ModuleRefused."""
        for index, known in self.names.items():
            if known == name:
                return index
        raise ModuleRefused(f"policy.wasm: has no function {name}")

    def body(self, index: int) -> bytes:
        """Locals and instructions of a function of the module's own."""
        return self.bodies[index - self.imported]

    def replace(self, index: int, body: bytes) -> None:
        self.bodies[index - self.imported] = body

    def add(self, like: int, body: bytes) -> int:
        """The index of a new function with the type of function `like`."""
        self.types.append(self.types[like - self.imported])
        self.bodies.append(body)
        return self.imported + len(self.bodies) - 1

    def add_global(self, export: str) -> int:
        """The index of a new `mut i32`, zero, that the host finds as `export`."""
        count, start = _unsigned(self._section(_GLOBAL), 0)
        self._put(_GLOBAL, unsigned(count + 1) + self._section(_GLOBAL)[start:] + b"\x7f\x01\x41\x00\x0b")
        exports, start = _unsigned(self._section(_EXPORT), 0)
        entry = unsigned(len(export)) + export.encode() + b"\x03" + unsigned(count)
        self._put(_EXPORT, unsigned(exports + 1) + self._section(_EXPORT)[start:] + entry)
        return count

    def encode(self) -> bytes:
        """The module's bytes, without the sections that only people read."""
        self._put(_FUNCTION, unsigned(len(self.types)) + b"".join(map(unsigned, self.types)))
        code = b"".join(unsigned(len(body)) + body for body in self.bodies)
        self._put(_CODE, unsigned(len(self.bodies)) + code)
        kept = ((kind, data) for kind, data in self._sections if kind != _CUSTOM)
        return MAGIC + b"".join(bytes((kind,)) + unsigned(len(data)) + data for kind, data in kept)

    def _section(self, wanted: int) -> bytes:
        for kind, data in self._sections:
            if kind == wanted:
                return data
        raise ModuleRefused(f"policy.wasm: has no section {wanted}")

    def _put(self, wanted: int, content: bytes) -> None:
        self._sections = [(kind, content if kind == wanted else data) for kind, data in self._sections]


def instructions(body: bytes) -> Iterator[Instruction]:
    """Every instruction of a body, in order. Raises ModuleRefused for one that is not known here."""
    groups, at = _unsigned(body, 0)
    for _ in range(groups):
        _, at = _unsigned(body, at)
        at += 1
    while at < len(body):
        opcode, first, end = body[at], 0, at + 1
        if opcode in _NUMBERS:
            first, end = _unsigned(body, end)
            for _ in range(_NUMBERS[opcode] - 1):
                _, end = _unsigned(body, end)
        elif opcode not in _PLAIN:
            raise ModuleRefused(f"policy.wasm: instruction {opcode:#x} in a rule")
        yield Instruction(opcode, first, at, end)
        at = end


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    """The LEB128 number at `at`, and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, at


def _vector(data: bytes) -> Iterator[int]:
    count, at = _unsigned(data, 0)
    for _ in range(count):
        number, at = _unsigned(data, at)
        yield number


def _chunks(data: bytes) -> Iterator[bytes]:
    count, at = _unsigned(data, 0)
    for _ in range(count):
        size, at = _unsigned(data, at)
        yield data[at : at + size]
        at += size


def _imported(data: bytes) -> tuple[str, ...]:
    """The names of the functions that are imported."""
    count, at = _unsigned(data, 0)
    functions, name = list[str](), ""
    for _ in range(count):
        for _ in range(2):
            size, at = _unsigned(data, at)
            name, at = data[at : at + size].decode(), at + size
        kind, at = data[at], at + 1
        if kind == 0:
            functions.append(name)
            _, at = _unsigned(data, at)
        elif kind == 2:
            limits, at = data[at], at + 1
            for _ in range(2 if limits & 1 else 1):
                _, at = _unsigned(data, at)
        elif kind == 3:
            at += 2
        else:
            raise ModuleRefused("policy.wasm: imports more than functions, memories and globals")
    return tuple(functions)


def _names(sections: list[tuple[int, bytes]]) -> dict[int, str]:
    """Function names by index, from the custom section `name`."""
    names: dict[int, str] = {}
    for kind, data in sections:
        if kind != _CUSTOM or not data.startswith(b"\x04name"):
            continue
        at = 5
        while at < len(data):
            part, (size, start) = data[at], _unsigned(data, at + 1)
            at = start + size
            if part != 1:
                continue
            count, place = _unsigned(data, start)
            for _ in range(count):
                index, place = _unsigned(data, place)
                length, place = _unsigned(data, place)
                names[index] = data[place : place + length].decode()
                place += length
    return names
