"""Generated policies and requests: small worlds, so that questions collide and every branch is taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import orjson
from hypothesis import strategies as st

from authz.testing import PlainAttributes, a_request
from authz.values import MISSING, Action, Assurance, Claims, Request, Subject

WORDS = ("a", "b", "read", "1")
HEADER = 'input.attributes.request.http.headers["x-a"]'
SCALARS = (
    "input.agent.id",
    "input.agent.claims.role",
    "input.agent.assurance",
    "input.action.tool",
    "input.action.arguments.word",
    "input.destination.host",
    "input.action.arguments.items[0].word",
    "input.parsed_query.q[0]",
    "input.parsed_body.word",
    "input.parsed_path[1]",
    "input.session.id",
    "input.session.identified",
    "input.context.model",
    "input.nowhere.at.all",
    HEADER,
)
COLLECTIONS = (
    "input.agent.chain",
    "input.agent.claims",
    "input.action.arguments.list",
    "input.action.arguments",
    "input.parsed_path",
    "input.parsed_query",
    "input.attributes.request.http.headers",
    "input.session.labels",
    "input.context.claimed",
    "data.lists.some",
)
OBJECTS = ("input.agent", "input.action", "input.destination", "input.agent.claims", "input.action.arguments")
# What may be there, may be something else, or may be missing: an alias of it is defined or not.
ANCESTORS = (
    *OBJECTS,
    "input.agent.claims.role",
    "input.agent.claims.claims",
    "input.action.arguments.id",
    "input.action.arguments.list",
    "input.parsed_body",
    "input.parsed_query.q",
    "input.session",
    "input.context",
    "input.nowhere",
    "input.attributes.request.http",
    "input.attributes.request.http.headers",
    "input.attributes.source",
    HEADER,
)
MEMBERS = ("id", "tool", "role", "host", "word", "claims", "nothing")


@dataclass
class Package:
    """One package under generation: conditions may add rules beside them."""

    random: Random
    libraries: tuple[str, ...]
    rules: list[str] = field(default_factory=list)

    def name(self, prefix: str) -> str:
        return f"{prefix}{len(self.rules)}"

    def conditions(self, depth: int) -> str:
        return "\n\t".join(self.condition(depth) for _ in range(self.random.randint(1, 3)))

    def condition(self, depth: int) -> str:
        makers = [self.plain, self.negated, self.looped, self.indirect, self.aliased, self.data]
        if depth:
            makers += [self.helper, self.function, self.replaced, self.partial, self.chained]
        return self.random.choice(makers)(depth)

    def plain(self, depth: int) -> str:
        one, other, word = self.random.choice(SCALARS), self.random.choice(SCALARS), self.word()
        return self.random.choice((one, f"{one} == {word}", f"{one} != {word}", f"{one} == {other}"))

    def negated(self, depth: int) -> str:
        if depth and self.random.random() < 0.4:
            rule = self.rule(depth - 1)
            return f"not {rule}"
        scalar = self.random.choice(SCALARS)
        return self.random.choice(
            (f"not {scalar}", f"not {scalar} == {self.word()}", f"not {scalar} != {self.word()}")
        )

    def looped(self, depth: int) -> str:
        many, word, scalar = self.random.choice(COLLECTIONS), self.word(), self.random.choice(SCALARS)
        x = self.name("x") + str(self.random.randint(0, 1 << 30))
        return self.random.choice(
            (
                f"{word} in {many}",
                f"not {word} in {many}",
                f"every {x} in {many} {{ {x} != {scalar} }}",
                f"count([{x} | some {x} in {many}; {x} != {word}]) < 2",
                f"count({{{x} | some {x}, _ in {many}; not {x} == {word}}}) > 0",
                f"{scalar} == {many}[_]",
                f"not {many}[{scalar}]",
                f"count({many}) > 1",
            )
        )

    def indirect(self, depth: int) -> str:
        what, member, word = self.random.choice(OBJECTS), self.random.choice(MEMBERS), self.word()
        x = "y" + str(self.random.randint(0, 1 << 30))
        return self.random.choice(
            (
                f'{x} := {what}\n\t{x}["{member}"] == {word}',
                f'object.get({what}, "{member}", "none") == {word}',
                f'not object.get({what}, ["{member}", "x"], false)',
                f"{what}[{self.random.choice(SCALARS)}]",
                f"not {what}[{self.random.choice(SCALARS)}].{member}",
                f"walk({what}, [_, {x}])\n\t{x} == {word}",
                f'{{"{member}": {x}}} = {what}\n\t{x} != {word}',
                f"[_, {x}] = input.parsed_path\n\t{x} == {word}",
                f"{x} := input\n\tnot {x}.agent.claims.{member}",
                f"to_number({self.random.choice(SCALARS)}) == 1",
            )
        )

    def aliased(self, depth: int) -> str:
        what, member, inner = (self.random.choice(words) for words in (ANCESTORS, MEMBERS, MEMBERS))
        x = "z" + str(self.random.randint(0, 1 << 30))
        test = self.random.choice((f"not {x}.{member}", f"not {x}.{member}.{inner}", f"{x}.{member}"))
        if depth and self.random.random() < 0.5:
            name = self.name("a")
            self.rules.append(f"{name} if {{\n\t{x} := {what}\n\t{test}\n}}")
            return f"not {name}"
        return f"{x} := {what}\n\t{test}"

    def data(self, depth: int) -> str:
        scalar, library = self.random.choice(SCALARS), self.random.choice(self.libraries)
        return self.random.choice(
            (
                f"{scalar} in data.lists.some",
                f"data.lists.map[{scalar}]",
                f"not data.lists.map[{scalar}].{self.random.choice(WORDS[:3])}",
                f"data.lists[{scalar}][_] == {self.random.choice(SCALARS)}",
                f"data.lib.{library}.holds",
                f"not data.lib.{library}.holds",
                f"not data.lib[{scalar}].holds",
                f"data.lib[{scalar}].set[{self.word()}]",
            )
        )

    def rule(self, depth: int) -> str:
        body = self.conditions(depth)
        name = self.name("h")
        self.rules.append(f"{name} if {{\n\t{body}\n}}")
        return name

    def helper(self, depth: int) -> str:
        return self.rule(depth - 1)

    def function(self, depth: int) -> str:
        name, member = self.name("f"), self.random.choice(MEMBERS)
        default = f"default {name}(_) := false\n\n" if self.random.random() < 0.5 else ""
        test = f'object.get(o, "{member}", "none") == {self.random.choice(SCALARS)}'
        self.rules.append(f"{default}{name}(o) if {{\n\tis_object(o)\n\t{test}\n}}")
        call = f"{name}({self.random.choice(OBJECTS)})"
        return self.random.choice((call, f"not {call}"))

    def replaced(self, depth: int) -> str:
        rule, scalar, word = self.rule(depth - 1), self.random.choice(SCALARS), self.word()
        target = self.random.choice(("input.agent.id", "input.action", "input.agent.claims.role", "input"))
        value = (
            scalar
            if target.count(".") > 1 or target == "input.agent.id"
            else f'{{"id": {word}, "tool": {scalar}}}'
        )
        data = f"data.lists.some as {self.random.choice(COLLECTIONS)}"
        negation = self.random.choice(("", "not "))
        return f"{negation}{rule} with " + self.random.choice((f"{target} as {value}", data))

    def partial(self, depth: int) -> str:
        name, many = self.name("s"), self.random.choice(COLLECTIONS)
        if self.random.random() < 0.5:
            self.rules.append(
                f"{name} contains x if {{\n\tsome x in {many}\n\tnot x == {self.random.choice(SCALARS)}\n}}"
            )
            return self.random.choice((f"{self.word()} in {name}", f"not {name}[{self.word()}]"))
        self.rules.append(f"{name}[k] := v if some k, v in {many}")
        return self.random.choice((f"{name}[{self.word()}]", f"count({name}) == 0"))

    def chained(self, depth: int) -> str:
        one, two = self.conditions(0), self.conditions(0)
        name, scalar = self.name("c"), self.random.choice(SCALARS)
        default = f"default {name} := 9\n\n" if self.random.random() < 0.5 else ""
        rule = f"{name} := 1 if {{\n\t{one}\n}} else := {scalar} if {{\n\t{two}\n}}"
        self.rules.append(default + rule)
        return self.random.choice((f"{name} == 1", f"not {name}", f"{name} != {self.word()}"))

    def word(self) -> str:
        return f'"{self.random.choice(WORDS)}"'


def policy(random: Random, name: str, libraries: tuple[str, ...]) -> str:
    """A package whose `decision` says which of its branches was taken."""
    package = Package(random, libraries)
    result = '{{"decision": "{}", "reason_code": "branch", "rule": "{}"}} if {{\n\t{}\n}}'
    branches = [
        result.format(said, number, package.conditions(2))
        for number, said in enumerate(("allow", "deny", "allow"))
    ]
    decision = "decision := " + " else := ".join(branches)
    return f"package {name}\n\n" + "\n\n".join([decision, *package.rules]) + "\n"


def library(random: Random, name: str) -> str:
    """A package that others reach by its name, also by a computed one."""
    package = Package(random, (name,))
    package.data = package.plain  # type: ignore[method-assign] # libraries do not call each other
    holds = f"holds if {{\n\t{package.conditions(1)}\n}}"
    members = f"set contains x if some x in {random.choice(COLLECTIONS)}"
    return f"package lib.{name}\n\n" + "\n\n".join([holds, members, *package.rules]) + "\n"


LISTS = {
    "lists": {"some": ["a", "1"], "map": {"a": {"b": 1}, "read": {"a": True}}, "a": ["b"], "read": ["1"]}
}

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
    },
)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    body = draw(st.just(MISSING) | arguments)
    headers = draw(st.fixed_dictionaries({}, optional={"x-a": word, "accept": word, "b": word}))
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
