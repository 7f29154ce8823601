"""Generated policies and requests: small worlds, so that questions collide and every branch is taken.

    sources()     Sources: Rego of `grammar.py` in several packages, with its data
    requests()    Requests with a body, a query, claims, headers (volatile ones and credentials, too)
    subjects      Subjects
    documents     whole input documents in JSON, for engines that are asked without a stage

All of them shrink: what is left of a failure is one entry point, its least conditions and a plain request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import orjson
from hypothesis import strategies as st
from msgspec import Struct

from authz.policy.facts import WHOLE, Plan
from authz.testing import PlainAttributes, a_request
from authz.values import MISSING, Action, Assurance, Claims, Request, Subject
from tests.policy import grammar
from tests.policy.grammar import FORMS, LIBRARIES, MEMBERS, WORDS, Form

NOW: Final = datetime(2026, 11, 24, 13, 5, tzinfo=UTC)
DATA: Final = {
    "lists": {
        "some": ["a", "1"],
        "map": {"a": {"b": 1, "key": "id"}, "read": {"a": True}},
        "a": ["b"],
        "read": ["1"],
        "key": "agent",
        "names": ["agent", "action", "id"],
        "path": ["agent", "id"],
    }
}
_HOLE: Final = re.compile(r"<([a-z]+)\d*>")
NEW: Final = "xykvr"  # variables and rules: never filled, but named as they are written
FILLINGS: Final = {
    "scalar": grammar.SCALARS,
    "many": grammar.COLLECTIONS,
    "object": grammar.OBJECTS,
    "ancestor": grammar.ANCESTORS,
    "key": grammar.KEYS,
    "word": tuple(f'"{word}"' for word in WORDS),
    "member": MEMBERS,
    "lib": LIBRARIES,
}
# Which conditions hold is told apart, and decides; nothing is decided where only "2" holds.
_DECISION: Final = """decision := answer("allow") if "0" in held
else := answer("deny") if "1" in held
else := answer("sanitize") if not "2" in held"""
_ANSWER: Final = (
    """answer(said) := {"decision": said, "reason_code": "held", "evidence": [x | some x in held]}"""
)


class Piece(Struct, frozen=True):
    """A form, and what fills its holes: text, or pieces for a body."""

    form: Form
    holes: dict[str, str | list[Piece]]


Body = list[Piece]


class Entry(Struct, frozen=True):
    """What one entry point is asked about. `quoted`: a collection whose members its answer names, or ""."""

    bodies: list[Body]
    quoted: str


class Library(Struct, frozen=True):
    """A package that others reach by its name, also by a computed one."""

    holds: Body
    flag: Body
    has: Body
    members: str
    by_name: str


class Source(Struct, frozen=True):
    """A policy source: files by name, and what of it is asked."""

    files: dict[str, str]
    entry_points: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(text for name, text in sorted(self.files.items()) if name.endswith(".rego"))


class _Package:
    """One package as it is written: conditions put rules beside them."""

    def __init__(self, name: str) -> None:
        self._name, self._names, self.rules = name, 0, list[str]()

    def body(self, pieces: Sequence[Piece]) -> str:
        return "\n".join(map(self._condition, pieces))

    def _condition(self, piece: Piece) -> str:
        filled = {
            hole: self.body(text) if isinstance(text, list) else text for hole, text in piece.holes.items()
        }
        for hole, kind in holes_of(piece.form).items():
            if kind in NEW:
                self._names += 1
                filled[hole] = f"{kind}{self._names}"
        texts = (piece.form.condition, *piece.form.rules)
        condition, *rules = (_HOLE.sub(lambda match: filled[match[0]], text) for text in texts)
        self.rules += rules
        return condition

    def __str__(self) -> str:
        text = "\n\n".join(self.rules)
        named = [name for name in grammar.IMPORTS if re.search(rf"\b{name}\b", text)]
        imports = "".join(f"import {grammar.IMPORTS[name]} as {name}\n" for name in named)
        return "\n\n".join(filter(None, (f"package {self._name}", imports, text))) + "\n"


@cache
def holes_of(form: Form) -> dict[str, str]:
    """Kinds by hole."""
    found = (match for text in (form.condition, *form.rules) for match in _HOLE.finditer(text))
    return {match[0]: match[1] for match in found}


def _filled(form: Form, inner: st.SearchStrategy[Body] | None) -> st.SearchStrategy[Piece]:
    kinds = {hole: kind for hole, kind in holes_of(form).items() if kind not in NEW}
    holes = {
        hole: inner if kind == "body" and inner is not None else st.sampled_from(FILLINGS[kind])
        for hole, kind in kinds.items()
    }
    return st.builds(Piece, st.just(form), st.fixed_dictionaries(holes))


def written(pieces: Sequence[Piece], name: str) -> str:
    """A package whose rule `held` has `pieces` as its conditions."""
    package = _Package(name)
    package.rules.insert(0, f"held if {{\n{package.body(pieces)}\n}}")
    return str(package)


def bodies(forms: Sequence[Form] = FORMS, depth: int = 2, *, most: int = 3) -> st.SearchStrategy[Body]:
    """One to `most` conditions of `forms`, with bodies inside of them to `depth`."""
    inner = bodies(forms, depth - 1, most=2) if depth else None
    usable = [form for form in forms if depth or not form.deep]
    return st.lists(st.one_of([_filled(form, inner) for form in usable]), min_size=1, max_size=most)


def _entry(made: Entry, name: str) -> str:
    package = _Package(name)
    held = [f'held contains "{n}" if {{\n{package.body(body)}\n}}' for n, body in enumerate(made.bodies)]
    if made.quoted:
        held.append(f'held contains sprintf("%v", [x]) if some x in {made.quoted}')
    package.rules[:0] = [_DECISION, _ANSWER, *held]
    return str(package)


def library(made: Library, name: str) -> str:
    package = _Package(name)
    holds, flag, has = (package.body(body) for body in (made.holds, made.flag, made.has))
    package.rules += [
        f"holds if {{\n{holds}\n}}",
        f"default flag := false\n\nflag if {{\n{flag}\n}}",
        f'has(o, k) if {{\nobject.get(o, k, "none") != "none"\n{has}\n}}',
        f"members contains x if some x in {made.members}",
        f"by_name[k] := v if some k, v in {made.by_name}",
    ]
    return str(package)


def _source(entries: Sequence[Entry], libraries: Sequence[Library]) -> Source:
    files = {f"gen/p{n}.rego": _entry(entry, f"gen.p{n}") for n, entry in enumerate(entries)}
    text = "".join(files.values())
    for name, made in zip(LIBRARIES, libraries, strict=True):
        if "data.lib[" in text or f"data.lib.{name}" in text:
            files[f"lib/{name}.rego"] = library(made, f"lib.{name}")
    points = tuple(f"gen/p{n}/decision" for n in range(len(entries)))
    return Source(files | {"data.json": json.dumps(DATA)}, points)


def sources(forms: Sequence[Form] = FORMS, *, most: int = 12) -> st.SearchStrategy[Source]:
    """One to `most` entry points in packages of their own, which share three libraries."""
    asked = st.lists(bodies(forms), min_size=1, max_size=3)
    entry = st.builds(Entry, asked, st.sampled_from(("", *grammar.COLLECTIONS)))
    own = [form for form in forms if form not in grammar.ACROSS]  # libraries do not call each other
    body, many = bodies(own, 1), st.sampled_from(grammar.COLLECTIONS)
    library = st.builds(Library, body, body, body, many, many)
    return st.builds(
        _source,
        st.lists(entry, min_size=1, max_size=most),
        st.lists(library, min_size=len(LIBRARIES), max_size=len(LIBRARIES)),
    )


word = st.sampled_from((*WORDS, ""))
values = st.recursive(
    word | st.integers(0, 2) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=3),
    max_leaves=4,
)
arguments = st.fixed_dictionaries(
    {},
    optional={
        "word": word,
        "list": st.lists(word, max_size=2),
        "items": st.lists(st.fixed_dictionaries({"word": word}), max_size=2),
        "id": values,
        "a.b": word,
        "a": st.fixed_dictionaries({}, optional={"b": word}),
    },
)
_header_names = ("x-a", "accept", "b", "x-request-id", "authorization", "cookie")


@st.composite
def requests(draw: st.DrawFn) -> Request:
    body = draw(st.just(MISSING) | arguments)
    headers = draw(st.fixed_dictionaries({}, optional=dict.fromkeys(_header_names, word)))
    if body is not MISSING:
        headers["content-type"] = "application/json"
    path = "/" + "/".join(draw(st.lists(word, max_size=3)))
    query = "&".join(f"q={item}" for item in draw(st.lists(word, max_size=2)))
    method = draw(st.sampled_from(("GET", "POST")))
    claims = draw(st.fixed_dictionaries({}, optional={"branch": word, "model": word}))
    return a_request(
        claims=Claims(claims),
        headers=headers,
        path=path,
        query=query,
        host=draw(word),
        body=b"" if body is MISSING else orjson.dumps(body),
        action=Action("http", draw(word), method, path, body),
        attributes=PlainAttributes({"request": {"http": {"headers": headers, "method": method}}}),
    )


subjects = st.builds(
    Subject,
    agent_id=word,
    assurance=st.sampled_from(Assurance),
    chain=st.lists(word, max_size=2).map(tuple),
    claims=st.dictionaries(st.sampled_from(MEMBERS), values, max_size=3),
    session_id=word,
)


def _document(request: Request, subject: Subject) -> Any:
    return orjson.loads(Plan(WHOLE, revision="", deterministic=False).facts(request, subject, NOW).question)


documents: st.SearchStrategy[Any] = st.builds(_document, requests(), subjects)
