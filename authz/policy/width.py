"""Why the question put to policy is as large as it is, and why a verdict is not kept: explained to authors.

In: a source directory. Out: for each entry point what is asked, which rule reads it where, what makes it
wide, and how to write that more narrowly. Called by `aegis policy facts`. It explains what `analysis.py`
found, and decides nothing.

A fact is wide where it takes in several fields, or whatever an agent puts there: every member of it makes
another question, so that fewer are answered from the cache.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path as Directory
from typing import Final

from msgspec import Struct

from authz.policy.analysis import analyse, reached
from authz.policy.document import FIELDS
from authz.policy.facts import HEADERS, is_volatile, volatile_in
from authz.policy.lint.program import Path, Program, text_of
from authz.policy.lint.syntax import Place, Term, modules, terms_of
from authz.policy.making import build_plain
from authz.policy.manifest import EntryPoint, entry_name
from authz.policy.opa_tool import OpaTool
from authz.policy.reads import How, Read, Reading

_OPEN: Final = (("action", "arguments"), ("parsed_body",), ("parsed_query",), ("agent", "claims"))
_MOST_NAMED: Final = 4


class Cause(Struct, frozen=True):
    """`what` stands at `place`, and how to write it otherwise."""

    place: Place
    what: str
    advice: str


class Wide(Struct, frozen=True):
    """A fact that is wide, volatile or both. `reads` are those that take all of it; none where only a name
    does that cannot be followed.
    """

    path: Path
    what: str
    volatile: tuple[Path, ...]
    reads: tuple[Read, ...]
    advice: tuple[str, ...]


class Explained(Struct, frozen=True):
    """One entry point. `prints`: why it is asked the whole input; `changing`: why no verdict is kept."""

    entry: EntryPoint
    reads: tuple[Read, ...]
    wide: tuple[Wide, ...]
    prints: tuple[Cause, ...]
    changing: tuple[Cause, ...]

    @property
    def kept(self) -> bool:
        """Whether a verdict can be kept; one that takes all headers only where none of them is volatile."""
        paths = self.entry.facts if self.entry.prune else ((),)
        return not self.changing and not any(map(is_volatile, paths))


def explain(source: Directory, entry_points: Sequence[str], *, opa: str = "opa") -> dict[str, Explained]:
    """By the names of entry points. Raises PolicyRejected as building the source does."""
    tool = OpaTool(opa)
    with tempfile.TemporaryDirectory(prefix="aegis-policy-") as name:
        plain = build_plain(source, Directory(name), tool)
        analysis = analyse(plain, entry_points, tool)
        rules = {entry_name(each): reached(plain, each, tool) for each in entry_points}
    program = Program(tuple(modules(source, tool)), analysis.entry_points)
    reading = Reading(program)
    return {
        name: _explained(program, reading, entry, rules[name], analysis.nondeterministic)
        for name, entry in analysis.entry_points.items()
    }


def _explained(
    program: Program, reading: Reading, entry: EntryPoint, rules: frozenset[Path], changing: Sequence[str]
) -> Explained:
    own = [rule for rule in program.rules if any(_leads(path, rule.path) for path in rules)]
    reads = tuple(read for rule in own for read in reading.of(rule))
    return Explained(
        entry,
        reads,
        tuple(_wide(program, reading, entry, reads)),
        () if entry.prune else tuple(_prints(program)),
        tuple(_changing(program, changing)),
    )


def _leads(path: Path, rule: Path) -> bool:
    shared = min(len(path), len(rule))
    return path[:shared] == rule[:shared]


# -- wide facts


def _wide(program: Program, reading: Reading, entry: EntryPoint, reads: Sequence[Read]) -> Iterator[Wide]:
    for path in entry.facts:
        volatile = volatile_in(path)
        what = _what(path)
        if what or volatile:
            taking = tuple(read for read in reads if read.path == path and read.how is not How.ALIAS)
            said = dict.fromkeys(_advice(program, reading, read) for read in taking)
            yield Wide(path, what, volatile, taking, (*said, *_on_time(path, volatile)))


def _what(path: Path) -> str:
    """Why a fact is wide, "" for one that is not."""
    if not path:
        return "the whole input"
    below = [field for field in FIELDS if len(field) > len(path) and field[: len(path)] == path]
    if below:
        named = ", ".join(field[-1] for field in below[:_MOST_NAMED])
        return f"{len(below)} fields: {named}" + (", ..." if len(below) > _MOST_NAMED else "")
    if path in _OPEN:
        return "whatever is in it"
    if path == HEADERS[: len(path)]:
        return "all headers" if path == HEADERS else "all headers, and more of the request"
    return ""


def _advice(program: Program, reading: Reading, read: Read) -> str:
    what = text_of(read.path)
    if read.how is How.NAME:
        return (
            f"opa cannot tell which member `{read.text}` means: name the members, or look the name up in an "
            f'object of them: `{{"id": input.agent.id}}[name]`'
        )
    if read.how is How.FUNCTION and isinstance(read.to, tuple):
        inner = _members(program, reading, read)
        if inner:
            return f"hand {read.to[-1]} what it reads of {what}, not all of it: {', '.join(inner)}"
        return f"{read.to[-1]} takes all of {what}: hand it the members that matter"
    if read.to == "object.get":
        return f"object.get takes all of {what}: name the member, and give a default by a `default` rule"
    if read.how is How.BUILT_IN:
        return f"{read.to} takes all of {what}: hand it the members that matter"
    if read.how is How.LOOP:
        return f"`{read.text}` is looked through: name the members, if only some are meant"
    if read.how is How.REPLACED:
        return (
            f"a `with` replaces all of {what}: replace the members that matter, each by a `with` of its own"
        )
    return f"all of {what} is compared or put into a value: use the members that matter"


def _members(program: Program, reading: Reading, read: Read) -> list[str]:
    """What the function that `read` is handed to reads below it; none if it takes all of it as well."""
    assert isinstance(read.to, tuple)
    inner = [each for rule in program.groups[read.to] for each in reading.of(rule)]
    if any(each.path == read.path and each.how is not How.ALIAS for each in inner):
        return []
    below = {each.path for each in inner if each.path[: len(read.path)] == read.path}
    return [text_of(path) for path in sorted(below)]


def _on_time(path: Path, volatile: Sequence[Path]) -> Iterator[str]:
    if not volatile:
        return
    if path == HEADERS:
        yield "name the headers: a verdict is not kept where one of them is volatile (x-request-id, ...)"
    elif path in volatile:
        yield f"leave {text_of(path)} out: it is another one each time, and the record has it anyway"


# -- why everything is asked, why nothing is kept


def _prints(program: Program) -> Iterator[Cause]:
    for term in _terms(program):
        if term.kind == "call" and term.name == "print":
            yield Cause(term.place, term.text, "take it out: what is printed is evaluated, too")


def _changing(program: Program, names: Sequence[str]) -> Iterator[Cause]:
    advice = "for the time use `input.now`, which is asked and recorded; put what else it knows into data"
    for term in _terms(program):
        name = term.name if term.kind == "call" else ""
        if term.kind == "ref":
            name = ".".join(str(part.value) for part in term.value)
        if name in names:
            yield Cause(term.place, f"{name} may answer differently each time", advice)


def _terms(program: Program) -> Iterator[Term]:
    for rule in program.rules:
        for part in program.parts(rule):
            yield from terms_of(part)
