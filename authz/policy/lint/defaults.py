"""Is an allow what is left when nothing matched?

In: a Program. Out: Findings. Called by `run.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from authz.policy.lint.finding import Edit, Finding, LintRule, Severity
from authz.policy.lint.program import ALLOW, Path, Program, allows, wants_nothing
from authz.policy.lint.syntax import Expr, Rule, Term, terms_of

BY_DEFAULT: Final = LintRule(
    id="allow-by-default",
    severity=Severity.ERROR,
    why="What nobody thought of is permitted: a request that no rule matches, and rules that are undefined.",
    fix="Deny by default, and allow what is listed.",
    bad='default allow := true\n\nallow := false if input.agent.id == "x"',
    good='default allow := false\n\nallow if input.agent.id == "x"',
    mends=True,
)
BY_ABSENCE: Final = LintRule(
    id="allow-by-absence",
    severity=Severity.ERROR,
    why="The allow needs nothing to be there, only that no denial was found: a list of what is forbidden is "
    "never complete, and a denial whose field is missing is not found.",
    fix="Let the allow need something that was checked: a known agent, a destination, a tool.",
    bad='allow if count(deny) == 0\n\ndeny contains "no" if input.destination.host == "bad.example"',
    good="allow if {\n\tinput.destination.host in data.hosts\n\tcount(deny) == 0\n}\n\n"
    'deny contains "no" if input.action.method == "DELETE"',
)
RULES: Final = (BY_DEFAULT, BY_ABSENCE)
_NEUTRAL: Final = ("assign", "print")


def check(program: Program) -> Iterator[Finding]:
    for rule in program.rules:
        if program.verdict(rule) == ALLOW and not rule.args and rule.key is None:
            yield from _granting(program, rule)
        for part in program.parts(rule):
            yield from _fallbacks(part)


def _granting(program: Program, rule: Rule) -> Iterator[Finding]:
    name = ".".join(rule.path[-1:])
    if rule.default or rule.unconditional:
        how = "by default" if rule.default else "without a condition"
        yield Finding(BY_DEFAULT, rule.place, f"{name} is an allow {how}", _denied(rule))
    elif not any(_evidence(program, rule, expr, frozenset()) for expr in rule.body):
        yield Finding(BY_ABSENCE, rule.place, f"{name} is an allow when nothing is found")


def _denied(rule: Rule) -> Edit | None:
    """`default allow := true` only: what a policy's own words for a denial are is not known here."""
    value = rule.value
    if rule.default and value is not None and value.value is True:
        return Edit(value.place, "true", "false")
    return None


def _evidence(program: Program, rule: Rule, expr: Expr, seen: frozenset[Path]) -> bool:
    """Whether something has to be there for `expr` to hold."""
    if expr.negated != wants_nothing(expr) or not expr.terms:
        return False
    term = expr.terms[0]
    if term.kind == "boolean" or (term.kind == "call" and term.name in _NEUTRAL):
        return False
    target = program.target(rule, term) if term.kind in ("var", "ref") else None
    if target is None or target in seen:
        return any(inner.kind in ("var", "ref") for inner in terms_of(term)) or term.kind == "call"
    return all(
        any(_evidence(program, each, inner, seen | {target}) for inner in each.body)
        for each in program.groups[target]
        if not each.default and (each.value is None or each.value.value is not False)
    )


def _fallbacks(found: Term | Expr) -> Iterator[Finding]:
    """`object.get(x, "decision", "allow")`."""
    for term in terms_of(found):
        if (
            term.kind == "call"
            and term.name == "object.get"
            and len(term.value) == 3
            and allows(term.value[2])
        ):
            yield Finding(BY_DEFAULT, term.place, "object.get falls back to an allow")
