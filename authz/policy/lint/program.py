"""What the rules of a policy speak of, and whose side they are on.

In: Modules and entry points. Out: for each term the paths of the input that its value comes from, through
aliases, helpers, arguments and loops; for each rule whether an allow or a denial rests on it. Called by the
checks. Both err on the side of naming too much.

A rule is on the side ALLOW if an allow needs it to be true, and on the side DENY if a denial does, or an
allow needs it not to be. What nothing refers to counts as ALLOW.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from authz.policy.lint.syntax import Expr, Module, Rule, Term, exprs_of, nested, terms_of

Path = tuple[str, ...]
Origins = frozenset[Path]

ALLOW: Final = "allow"
DENY: Final = "deny"
_MOST_STEPS: Final = 12  # of a path that is followed
_GRANTING: Final = re.compile(r"(is_)?(allow|allowed|permit|permitted|authorized)")
_REFUSING: Final = re.compile(
    r"(is_)?(deny|denied|denies|block|blocked|forbidden|violation|violations|refused|reject|rejected)"
)
_FLIPPED: Final = {ALLOW: DENY, DENY: ALLOW}
_NONE: Final[Origins] = frozenset()
_BINDING: Final = ("assign", "eq")
_COMPARING: Final = frozenset("equal neq lt lte gt gte internal.member_2 internal.member_3 count".split())


class Program:
    """All modules of one source. `entry_points` as `aegis/decision`, also with a slash first."""

    def __init__(self, modules: Sequence[Module], entry_points: Iterable[str]) -> None:
        self.modules = tuple(modules)
        self.entries = [tuple(name.strip("/").split("/")) for name in entry_points]
        self._signed = {id(rule): list(_signed(rule)) for module in modules for rule in module.rules}
        self._home = {id(rule): module for module in modules for rule in module.rules}
        self.groups: dict[Path, list[Rule]] = defaultdict(list)
        for rule in self.rules:
            self.groups[rule.path].append(rule)
        self._locals: dict[int, dict[str, Origins]] = {id(rule): {} for rule in self.rules}
        self._values: dict[Path, Origins] = defaultdict(frozenset)
        self._arguments: dict[tuple[Path, int], Origins] = defaultdict(frozenset)
        while self._learn():
            pass
        self._callees = {path: self._referred(path) for path in list(self.groups)}
        self._sides = self._take_sides()

    @property
    def rules(self) -> Iterator[Rule]:
        for module in self.modules:
            yield from module.rules

    # -- what a term speaks of

    def origins(self, rule: Rule, term: Term) -> Origins:
        """Paths below `input` that the value of `term` in `rule` may come from."""
        if term.kind == "var":
            return self._of_name(rule, term.value, ())
        if term.kind == "ref":
            return self._of_ref(rule, term)
        if term.kind == "call":
            target = self.target(rule, term)
            if target:
                return self._values[target]
            if term.name.startswith("io.jwt."):  # what a token says is not what the header says
                return _NONE
            if term.name == "object.get":
                return self._of_member(rule, *term.value)
            return _NONE if term.name in _COMPARING else self._of_all(rule, term.value)
        if term.kind == "object":
            return self._of_all(rule, [item for pair in term.value for item in pair])
        return self._of_all(rule, term.value) if isinstance(term.value, tuple) else _NONE

    def read(self, rule: Rule, part: Term | Expr) -> Origins:
        """The origins of every term in `part`."""
        return frozenset().union(*(self.origins(rule, term) for term in terms_of(part)))

    def _of_all(self, rule: Rule, terms: Iterable[Term]) -> Origins:
        return frozenset().union(*(self.origins(rule, term) for term in terms))

    def _of_member(self, rule: Rule, whole: Term, key: Term, otherwise: Term) -> Origins:
        path = steps(key.value if key.kind == "array" else (key,))
        found = frozenset((*origin, *path)[:_MOST_STEPS] for origin in self.origins(rule, whole))
        return found | self.origins(rule, otherwise)

    def _of_ref(self, rule: Rule, term: Term) -> Origins:
        head, rest = term.value[0], term.value[1:]
        if head.kind != "var":
            return self.origins(rule, head)
        return self._of_name(rule, head.value, steps(rest))

    def _of_name(self, rule: Rule, name: str, rest: Path) -> Origins:
        known = self._locals[id(rule)]
        if name in known:
            return frozenset((*path, *rest)[:_MOST_STEPS] for path in known[name])
        path = self._absolute(rule, name, rest)
        if path[:1] == ("input",):
            return frozenset((path[1 : _MOST_STEPS + 1],))
        group = self._group(path[1:]) if path[:1] == ("data",) else None
        if group is None:
            return _NONE
        left = path[1 + len(group) :]
        return frozenset((*origin, *left)[:_MOST_STEPS] for origin in self._values[group])

    def _absolute(self, rule: Rule, name: str, rest: Path) -> Path:
        if name in ("input", "data"):
            return (name, *rest)
        module = self._home[id(rule)]
        if name in module.imports:
            return (*module.imports[name], *rest)
        return ("data", *module.package, name, *rest)

    def _group(self, path: Path) -> Path | None:
        """The rule that a path below `data` leads to, or into."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.groups:
                return path[:end]
        return None

    def target(self, rule: Rule, term: Term) -> Path | None:
        """The rule that a ref, a name or a call refers to; None for anything else."""
        if term.kind == "call":
            name, *rest = term.name.split(".")
        elif term.kind == "var":
            name, rest = term.value, []
        elif term.kind == "ref" and term.value[0].kind == "var":
            name, rest = term.value[0].value, list(steps(term.value[1:]))
        else:
            return None
        if name in self._locals[id(rule)]:
            return None
        path = self._absolute(rule, name, tuple(rest))
        return self._group(path[1:]) if path[0] == "data" else None

    # -- learning what names stand for

    def _learn(self) -> bool:
        """One pass over all rules; whether anything new came out of it."""
        before = self._known()
        for rule in self.rules:
            known = self._locals[id(rule)]
            for position, arg in enumerate(rule.args):
                for name, _ in _names(arg):
                    known.setdefault(name, _NONE)
                self._add(rule, arg, self._arguments[rule.path, position])
            for expr in self.exprs(rule):
                self._bind(rule, expr)
                for term in terms_of(expr):
                    self._pass(rule, term)
            for head in rule.heads:
                for term in terms_of(head):
                    self._pass(rule, term)
                self._values[rule.path] |= self.origins(rule, head)
        return self._known() != before

    def _known(self) -> int:
        parts = (*self._values.values(), *self._arguments.values())
        own = (found for known in self._locals.values() for found in known.values())
        return sum(map(len, parts)) + sum(1 + len(found) for found in own)

    def _pass(self, rule: Rule, term: Term) -> None:
        """What a call hands to a function; what a loop variable inside a ref runs over."""
        if term.kind == "call" and (target := self.target(rule, term)):
            for position, arg in enumerate(term.value):
                self._arguments[target, position] |= self.origins(rule, arg)
        if term.kind == "ref":
            for position, part in enumerate(term.value[1:], start=1):
                if part.kind == "var" and self._is_local(rule, part.value):
                    above = Term("ref", term.value[:position], term.place, term.text)
                    self._add(rule, part, self.origins(rule, above))

    def _bind(self, rule: Rule, expr: Expr) -> None:
        if expr.every:
            for name in expr.terms[1:]:
                self._add(rule, name, self.origins(rule, expr.terms[0]))
        for term in expr.terms:
            if term.kind != "call":
                continue
            if term.name in _BINDING:
                one, other = term.value
                self._add(rule, one, self.origins(rule, other))
                if term.name == "eq":
                    self._add(rule, other, self.origins(rule, one))
            elif expr.some and term.name.startswith("internal.member_"):
                for name in term.value[:-1]:
                    self._add(rule, name, self.origins(rule, term.value[-1]))
            elif term.name == "walk" and len(term.value) == 2:
                self._add(rule, term.value[1], self.origins(rule, term.value[0]))

    def _add(self, rule: Rule, target: Term, found: Origins) -> None:
        known = self._locals[id(rule)]
        for name, path in _names(target):
            if self._is_local(rule, name):
                known[name] = known.get(name, _NONE) | {(*origin, *path)[:_MOST_STEPS] for origin in found}

    def _is_local(self, rule: Rule, name: str) -> bool:
        module = self._home[id(rule)]
        taken = name in ("input", "data") or name in module.imports or (*module.package, name) in self.groups
        return not taken or name in self._locals[id(rule)]

    # -- who needs whom

    def exprs(self, rule: Rule) -> Iterator[Expr]:
        """Each expression of a rule, those inside comprehensions and `every` too."""
        return (expr for expr, _ in self.signed(rule))

    def parts(self, rule: Rule) -> Iterator[Term | Expr]:
        """Its expressions, its value, and what it contains."""
        yield from self.exprs(rule)
        yield from rule.heads

    def signed(self, rule: Rule) -> list[tuple[Expr, bool]]:
        """The same, each with whether it has to be false for the rule to hold."""
        return self._signed[id(rule)]

    def _mentioned(self, rule: Rule, terms: Iterable[Term]) -> Iterator[Path]:
        for term in terms:
            for inner in terms_of(term):
                if target := self.target(rule, inner):
                    yield target

    def _referred(self, path: Path) -> set[Path]:
        found: set[Path] = set()
        for rule in self.groups[path]:
            found.update(self._mentioned(rule, rule.heads))
            for expr in self.exprs(rule):
                found.update(self._mentioned(rule, (*expr.terms, *expr.replaced)))
        return found - {path}

    def around(self, path: Path) -> set[Path]:
        """The rules that a decision which reaches `path` may look at: what leads to it, and all of that."""
        above = {path}
        while more := {name for name, called in self._callees.items() if called & above} - above:
            above |= more
        below = set(above)
        while more := set().union(*(self._callees[name] for name in below)) - below:
            below |= more
        return below

    def sides(self, rule: Rule) -> frozenset[str]:
        """ALLOW, DENY or both; of a rule that is a verdict itself its own."""
        own = self.verdict(rule)
        return frozenset((own,) if own else self._sides[rule.path] or (ALLOW,))

    def permitting(self, rule: Rule) -> Iterator[Term | Expr]:
        """The parts of a rule that an allow needs to hold, or to be what they are. Of a rule on both sides
        those that must not hold are left out.
        """
        allows_by_it = ALLOW in self.sides(rule)
        yield from (expr for expr, flipped in self.signed(rule) if flipped != allows_by_it)
        if allows_by_it:
            yield from rule.heads

    def _take_sides(self) -> dict[Path, set[str]]:
        sides: dict[Path, set[str]] = defaultdict(set)
        waiting = [(rule, self.verdict(rule) or ALLOW) for rule in self.rules if self._decides(rule)]
        seen: set[tuple[int, str]] = set()
        while waiting:
            rule, side = waiting.pop()
            if (id(rule), side) in seen:
                continue
            seen.add((id(rule), side))
            sides[rule.path].add(side)
            for target, towards in self._pulls(rule, side):
                waiting.extend((each, towards) for each in self.groups[target] if not self.verdict(each))
        return sides

    def _decides(self, rule: Rule) -> bool:
        return rule.path in self.entries or self.verdict(rule) is not None

    def _pulls(self, rule: Rule, side: str) -> Iterator[tuple[Path, str]]:
        for expr, flipped in self.signed(rule):
            towards = _FLIPPED[side] if flipped else side
            for target in self._mentioned(rule, expr.terms):
                yield target, towards
        heads = [*_deciding(rule.value), *([rule.key] if rule.key else [])]
        for target in self._mentioned(rule, heads):
            yield target, side

    def verdict(self, rule: Rule) -> str | None:
        """ALLOW or DENY for a rule whose own value is one; None for any other."""
        value = _meant(rule)
        if value is not None and allows(value):
            return ALLOW
        name, truth = rule.path[-1], value is None or value.value is True
        if truth and rule.key is None and (rule.path in self.entries or _GRANTING.fullmatch(name)):
            return ALLOW
        if (value is not None and denies(value)) or _REFUSING.fullmatch(name):
            return DENY
        return None


def _signed(rule: Rule) -> Iterator[tuple[Expr, bool]]:
    for expr, negated in exprs_of(rule.body):
        yield expr, negated != wants_nothing(expr)
    for head in rule.heads:
        yield from nested(head)


def _meant(rule: Rule) -> Term | None:
    """The value of a rule; of a name that its own body sets, what that is set to."""
    value = rule.value
    if value is not None and value.kind == "var":
        for expr in rule.body:
            term = expr.terms[0]
            if term.kind == "call" and term.name in _BINDING and term.value[0].value == value.value:
                return term.value[1]  # type: ignore[no-any-return]
    return value


def allows(value: Term) -> bool:
    """Whether a value is, or holds, an allow."""
    return value.value == "allow" or any(
        (pair[0].value == "decision" and pair[1].value == "allow")
        or (pair[0].value == "allowed" and pair[1].value is True)
        for pair in pairs_of(value)
    )


def denies(value: Term) -> bool:
    """Whether a value is, or holds, a decision that is no allow."""
    return value.value == "deny" or any(
        (pair[0].value == "decision" and pair[1].kind == "string" and pair[1].value != "allow")
        or (pair[0].value == "allowed" and pair[1].value is False)
        for pair in pairs_of(value)
    )


def _deciding(value: Term | None) -> list[Term]:
    """What of a value says allow or deny: those members where there are any, else all of it."""
    if value is None:
        return []
    members = [item for name, item in pairs_of(value) if name.value in ("decision", "allowed")]
    return members or [value]


def pairs_of(value: Term) -> Iterator[tuple[Term, Term]]:
    """The members of every object in a term."""
    for term in terms_of(value):
        if term.kind == "object":
            yield from term.value


def steps(parts: Iterable[Term]) -> Path:
    """The string terms up to the first that is none."""
    found: list[str] = []
    for part in parts:
        if part.kind != "string":
            break
        found.append(part.value)
    return tuple(found)


def below(origins: Origins, *prefixes: Path) -> list[Path]:
    """Those of `origins` that lie at or below one of `prefixes`, in order."""
    return sorted(path for path in origins if any(path[: len(prefix)] == prefix for prefix in prefixes))


def text_of(path: Path) -> str:
    """`input.agent.claims["a.b"]`."""
    plain = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
    return "input" + "".join(f".{part}" if plain.fullmatch(part) else f'["{part}"]' for part in path)


def _names(target: Term) -> Iterator[tuple[str, Path]]:
    """The variables that binding to `target` sets, each with what of the value it gets."""
    if target.kind == "var":
        yield target.value, ()
    elif target.kind == "array":
        for item in target.value:
            yield from _names(item)
    elif target.kind == "object":
        for name, item in target.value:
            yield from ((inner, (*steps((name,)), *path)) for inner, path in _names(item))


def wants_nothing(expr: Expr) -> bool:
    """`count(x) == 0`, `x == set()`, `x == false`: true when there is nothing, like a `not`."""
    if len(expr.terms) != 1 or expr.terms[0].kind != "call":
        return False
    call = expr.terms[0]
    if call.name in ("equal", "eq", "lt", "lte"):
        one, other = call.value
        number: Any = 1 if call.name == "lt" else 0
        if one.kind == "call" and one.name == "count" and other.kind == "number" and other.value == number:
            return True
        return call.name in ("equal", "eq") and (_is_nothing(one) or _is_nothing(other))
    return False


def _is_nothing(term: Term) -> bool:
    empty_set = term.kind == "set" and not term.value
    return (
        empty_set
        or (term.kind == "boolean" and term.value is False)
        or (term.kind in ("array", "object") and not term.value)
    )
