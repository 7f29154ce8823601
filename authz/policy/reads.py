"""Where the rules of a source read the input, and how: for people, who want to know what is asked and why.

In: a Program of `lint/program.py`. Out: Reads with their places. Called by `width.py`. What a question holds
is what `opa deps` says (`analysis.py`); this only shows where in the text that comes from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

from msgspec import Struct

from authz.policy.lint.program import Path, Program, steps
from authz.policy.lint.syntax import Expr, Place, Rule, Term, terms_of

_BINDING: Final = ("assign", "eq")
_COMPARING: Final = frozenset("equal neq lt lte gt gte plus minus mul div rem".split())
_MEMBER: Final = "internal.member_"
_FIXED: Final = ("string", "number", "boolean", "null")


class How(StrEnum):
    """What is done with what was read."""

    FIELD = "read"  # by its name, and compared or looked at
    ALIAS = "given a name"  # `x := input.agent`: counts where x is used
    NAME = "looked up by a name that is not known"  # `input.agent[k]`
    LOOP = "looked through"  # `some x in`, `every x in`, `x in`, `[_]`
    FUNCTION = "handed to a function"
    BUILT_IN = "handed to a built-in"
    VALUE = "put into a value"
    REPLACED = "replaced by a `with`"


class Read(Struct, frozen=True):
    """`rule` (below `data`) has `text` at `place`, which is `path` below `input`. `to`: the function, as a
    path below `data`, or the built-in's name.
    """

    rule: Path
    path: Path
    place: Place
    text: str
    how: How
    to: Path | str = ""


class Reading:
    """The reads of a program. Followed are the names that a rule gives to a part of the input, and what it
    hands to functions; not what is made of it.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._imports = {id(rule): module.imports for module in program.modules for rule in module.rules}
        self._names: dict[int, dict[str, set[Path]]] = {id(rule): {} for rule in program.rules}
        self._handed: dict[tuple[Path, int], set[Path]] = defaultdict(set)
        while self._learn():
            pass

    def of(self, rule: Rule) -> list[Read]:
        """What `rule` reads, by place."""
        found = {
            Read(rule.path, path, term.place, term.text, how, to)
            for part in self._program.parts(rule)
            for term, how, to in _used(self._program, rule, part)
            for path in self._paths(rule, term)
        }
        return sorted(found, key=lambda read: (read.place, read.path))

    def _paths(self, rule: Rule, term: Term) -> set[Path]:
        """Which parts of the input `term` is."""
        if term.kind == "var":
            return self._named(rule, term.value)
        if term.kind != "ref" or term.value[0].kind != "var":
            return set()
        below = steps(term.value[1:])
        return {(*path, *below) for path in self._named(rule, term.value[0].value)}

    def _named(self, rule: Rule, name: str) -> set[Path]:
        if name in self._names[id(rule)]:
            return self._names[id(rule)][name]
        path = ("input",) if name == "input" else self._imports[id(rule)].get(name, ())
        return {path[1:]} if path[:1] == ("input",) else set()

    def _learn(self) -> bool:
        """One pass over all rules; whether it found anything new."""
        before = self._known()
        for rule in self._program.rules:
            names = self._names[id(rule)]
            for position, arg in enumerate(rule.args):
                if arg.kind == "var" and (handed := self._handed[rule.path, position]):
                    names.setdefault(arg.value, set()).update(handed)
            for term in (term for part in self._program.parts(rule) for term in terms_of(part)):
                if term.kind != "call":
                    continue
                if term.name in _BINDING and term.value[0].kind == "var" and _whole(term.value[1]):
                    if paths := self._paths(rule, term.value[1]):
                        names.setdefault(term.value[0].value, set()).update(paths)
                elif target := self._program.target(rule, term):
                    for position, arg in enumerate(term.value):
                        if _whole(arg):
                            self._handed[target, position] |= self._paths(rule, arg)
        return self._known() != before

    def _known(self) -> int:
        named = (paths for names in self._names.values() for paths in names.values())
        return sum(map(len, (*named, *self._handed.values())))


def _whole(term: Term) -> bool:
    """Whether a term is a part of the input or not by its names alone: none of them is unknown."""
    return term.kind == "var" or (
        term.kind == "ref" and all(part.kind == "string" for part in term.value[1:])
    )


Used = tuple[Term, How, Path | str]


def _used(program: Program, rule: Rule, part: Term | Expr) -> Iterator[Used]:
    if isinstance(part, Term):
        yield from _in(program, rule, part, How.VALUE)
        return
    if part.every:
        yield from _in(program, rule, part.terms[0], How.LOOP)
        return
    for term in part.terms:
        if part.some and term.kind == "call":
            yield from _in(program, rule, term.value[-1], How.LOOP)
        elif not part.some:
            yield from _in(program, rule, term, How.FIELD)
    for term in part.replaced:
        yield from _in(program, rule, term, How.VALUE)
    for term in part.targets:
        yield from _in(program, rule, term, How.REPLACED)


def _in(program: Program, rule: Rule, term: Term, how: How, to: Path | str = "") -> Iterator[Used]:
    """The names and refs inside of `term`, of which `how` is done."""
    if term.kind == "var":
        yield term, how, to
    elif term.kind == "ref":
        yield from _of_ref(program, rule, term, how, to)
    elif term.kind == "call":
        yield from _of_call(program, rule, term)
    elif term.kind == "object":
        for item in (item for pair in term.value for item in pair):
            yield from _in(program, rule, item, How.VALUE)
    elif isinstance(term.value, tuple):
        for item in term.value:
            yield from _in(program, rule, item, How.VALUE)


def _of_ref(program: Program, rule: Rule, term: Term, how: How, to: Path | str) -> Iterator[Used]:
    head, rest = term.value[0], term.value[1:]
    if head.kind != "var":
        yield from _in(program, rule, head, How.FIELD)
    unknown = next((part for part in rest if part.kind not in _FIXED), None)
    if unknown is None:
        yield term, how, to
    else:
        wild = unknown.kind == "var" and str(unknown.value).startswith(("_", "$"))
        yield term, How.LOOP if wild else How.NAME, ""
    for part in rest:
        if part.kind != "var":
            yield from _in(program, rule, part, How.FIELD)


def _of_call(program: Program, rule: Rule, call: Term) -> Iterator[Used]:
    if call.name in _BINDING:
        for arg in call.value[1 if call.name == "assign" else 0 :]:
            if arg.kind != "var":
                yield from _in(program, rule, arg, How.ALIAS)
        return
    if call.name.startswith(_MEMBER):
        *members, many = call.value
        yield from _all(program, rule, members, How.FIELD)
        yield from _in(program, rule, many, How.LOOP)
        return
    target = program.target(rule, call)
    if target is not None:
        yield from _all(program, rule, call.value, How.FUNCTION, target)
    elif call.name in _COMPARING:
        yield from _all(program, rule, call.value, How.FIELD)
    else:
        yield from _all(program, rule, call.value, How.BUILT_IN, call.name)


def _all(
    program: Program, rule: Rule, terms: Iterable[Term], how: How, to: Path | str = ""
) -> Iterator[Used]:
    for term in terms:
        yield from _in(program, rule, term, how, to)
