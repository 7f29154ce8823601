"""OPA's syntax tree of a policy source as values with places.

In: a directory; `opa parse` reads it. Out: Modules of Rules. Called by `run.py`. Every expression is one
term: `a == b` is the call `equal`, `some x in xs` the call `internal.member_2`. An `else` is a Rule of its
own, in the `chain` of the one it follows. Tests (`*_test.rego`) are left out.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from authz.errors import PolicyRejected
from authz.policy.opa_tool import OpaTool

TESTS: Final = "_test.rego"


class Place(Struct, frozen=True, order=True):
    """Where something begins: the file as it is below the source, row and column counted from 1."""

    file: str
    row: int
    col: int


class Term(Struct, frozen=True):
    """`kind`, and by it `value`: null, boolean, number, string: the value; var: its name; ref, array, set:
    its Terms; object: pairs of Terms; call: its arguments, with `name`; comprehension: what it yields, with
    `body`.
    """

    kind: str
    value: Any
    place: Place
    text: str  # as it is written
    name: str = ""
    body: tuple[Expr, ...] = ()


class Expr(Struct, frozen=True):
    """One line of a body. `every`: the Terms of an `every`, whose own body is in `body`. `some`: declares."""

    terms: tuple[Term, ...]
    negated: bool
    place: Place
    some: bool = False
    every: bool = False
    body: tuple[Expr, ...] = ()
    replaced: tuple[Term, ...] = ()  # what stands after `as` of a `with`
    targets: tuple[Term, ...] = ()  # what stands before it


class Rule(Struct, frozen=True):
    """`path` is below `data`. `key` is what a `contains` rule contains; `open`: a variable follows the path,
    as in `held[x] := 1`. `chain` is equal along an `else`.
    """

    path: tuple[str, ...]
    place: Place
    value: Term | None
    body: tuple[Expr, ...]
    args: tuple[Term, ...] = ()
    key: Term | None = None
    default: bool = False
    unconditional: bool = False
    open: bool = False
    chain: int = 0
    turn: int = 0  # 0, or which `else` of its chain

    @property
    def heads(self) -> list[Term]:
        """Its value, and what it contains."""
        return [head for head in (self.value, self.key) if head is not None]


class Comment(Struct, frozen=True):
    """`text` without the sign; `alone`: nothing else stands on its row."""

    text: str
    place: Place
    alone: bool


class Module(Struct, frozen=True):
    """One file. `imports` are the paths, with `data` or `input` first, by the names they have here."""

    file: str
    package: tuple[str, ...]
    imports: dict[str, tuple[str, ...]]
    rules: tuple[Rule, ...]
    comments: tuple[Comment, ...]


def modules(source: Path, opa: OpaTool) -> Iterator[Module]:
    """Those of `source` in the order of their names. Raises PolicyRejected for what opa cannot parse."""
    for file in sorted(source.rglob("*.rego")):
        if not file.name.endswith(TESTS):
            name = file.relative_to(source).as_posix()
            tree = _parsed(name, source, opa)
            yield _module(name, tree, file.read_text().split("\n"))


def _parsed(name: str, source: Path, opa: OpaTool) -> dict[str, Any]:
    arguments = ["parse", "--format", "json", "--json-include", "locations,comments", name]
    try:
        tree: dict[str, Any] = opa.json(arguments, source)
    except PolicyRejected:
        opa.run(["check", name], source)  # says the same for people
        raise
    return tree


def terms_of(found: Term | Expr) -> Iterator[Term]:
    """`found` and every term inside it, outermost first; not those of bodies inside it."""
    if isinstance(found, Expr):
        for term in (*found.terms, *found.replaced):
            yield from terms_of(term)
        return
    yield found
    for inner in _inner(found):
        yield from terms_of(inner)


def exprs_of(body: tuple[Expr, ...], negated: bool = False) -> Iterator[tuple[Expr, bool]]:
    """Each expression of a body and of bodies inside it, and whether an odd number of `not` is before it."""
    for expr in body:
        sign = negated != expr.negated
        yield expr, sign
        yield from exprs_of(expr.body, sign)
        for term in terms_of(expr):
            yield from exprs_of(term.body, sign)


def nested(term: Term) -> Iterator[tuple[Expr, bool]]:
    """The expressions of comprehensions inside a term."""
    for inner in terms_of(term):
        yield from exprs_of(inner.body)


def _inner(term: Term) -> Iterator[Term]:
    if term.kind == "object":
        for pair in term.value:
            yield from pair
    elif isinstance(term.value, tuple):
        yield from term.value


def _module(file: str, tree: dict[str, Any], lines: list[str]) -> Module:
    package = tuple(part["value"] for part in tree["package"]["path"][1:])
    rules: list[Rule] = []
    for number, raw in enumerate(tree.get("rules") or ()):
        rules.extend(_rules(file, package, raw, number))
    return Module(
        file=file,
        package=package,
        imports=dict(_import(raw) for raw in tree.get("imports") or ()),
        rules=tuple(rules),
        comments=tuple(_comment(file, raw, lines) for raw in tree.get("comments") or ()),
    )


def _import(raw: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    path = tuple(part["value"] for part in raw["path"]["value"])
    return raw.get("alias") or path[-1], path


def _comment(file: str, raw: dict[str, Any], lines: list[str]) -> Comment:
    place = _place(file, raw["Location"])
    alone = not lines[place.row - 1][: place.col - 1].strip()
    return Comment(b64decode(raw["Text"]).decode().strip(), place, alone)


def _rules(file: str, package: tuple[str, ...], raw: dict[str, Any], chain: int) -> Iterator[Rule]:
    turn = 0
    following: Any = raw
    while following is not None:
        yield _rule(file, package, following, chain, turn)
        following, turn = following.get("else"), turn + 1


def _rule(file: str, package: tuple[str, ...], raw: dict[str, Any], chain: int, turn: int) -> Rule:
    head = raw["head"]
    names = [part["value"] for part in head["ref"]]
    strings = [part["type"] == "string" for part in head["ref"][1:]]
    known = 1 + (strings.index(False) if False in strings else len(strings))
    body = tuple(_expr(file, expr) for expr in raw["body"] if not expr.get("generated"))
    return Rule(
        path=(*package, *names[:known]),
        place=_place(file, raw["location"]),
        value=_term(file, head["value"]) if "value" in head else None,
        body=body,
        args=tuple(_term(file, arg) for arg in head.get("args") or ()),
        key=_term(file, head["key"]) if "key" in head else None,
        default=raw.get("default", False),
        unconditional=not body and not raw.get("default", False),
        open=False in strings,
        chain=chain,
        turn=turn,
    )


def _place(file: str, location: dict[str, Any]) -> Place:
    return Place(file, location["row"], location["col"])


def _expr(file: str, raw: dict[str, Any]) -> Expr:
    place, negated = _place(file, raw["location"]), raw.get("negated", False)
    replaced = tuple(_term(file, item["value"]) for item in raw.get("with") or ())
    targets = tuple(_term(file, item["target"]) for item in raw.get("with") or ())
    terms = raw["terms"]
    if isinstance(terms, list):
        call = {"type": "call", "value": terms, "location": raw["location"]}
        return Expr((_term(file, call),), negated, place, replaced=replaced, targets=targets)
    if "domain" in terms:
        heads = [terms[name] for name in ("domain", "value", "key") if terms.get(name)]
        body = tuple(_expr(file, inner) for inner in terms["body"])
        return Expr(tuple(_term(file, head) for head in heads), negated, place, every=True, body=body)
    if "symbols" in terms:
        return Expr(tuple(_term(file, term) for term in terms["symbols"]), negated, place, some=True)
    return Expr((_term(file, terms),), negated, place, replaced=replaced, targets=targets)


def _term(file: str, raw: dict[str, Any]) -> Term:
    kind: str = raw["type"]
    value: Any = raw.get("value")
    location = raw.get("location") or {"row": 0, "col": 0}
    place, text = _place(file, location), b64decode(location.get("text", "")).decode()
    if kind == "null":
        return Term(kind, None, place, text)
    if kind == "call":
        name = ".".join(str(part["value"]) for part in value[0]["value"])
        return Term(kind, tuple(_term(file, item) for item in value[1:]), place, text, name=name)
    if kind.endswith("comprehension"):
        heads = tuple(_term(file, value[name]) for name in ("key", "value", "term") if name in value)
        body = tuple(_expr(file, expr) for expr in value["body"])
        return Term("comprehension", heads, place, text, body=body)
    if kind == "object":
        pairs = tuple((_term(file, name), _term(file, item)) for name, item in value)
        return Term(kind, pairs, place, text)
    if kind == "templatestring":
        return Term("array", tuple(_part(file, part, location) for part in value["parts"]), place, text)
    if isinstance(value, list):
        return Term(kind, tuple(_term(file, item) for item in value), place, text)
    return Term(kind, value, place, text)


def _part(file: str, raw: dict[str, Any], location: dict[str, Any]) -> Term:
    """Of a template string: a text, or an expression."""
    terms = raw.get("terms", raw)
    return _term(
        file, {"type": "call", "value": terms, "location": location} if isinstance(terms, list) else terms
    )
