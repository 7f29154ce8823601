"""Does an answer rest on something that may not be there, or not be all there?

In: a Program. Out: Findings. Called by `run.py`. A field that is missing is undefined: whatever is said of it
does not hold, so a denial does not happen and a `not` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from authz.policy.lint.finding import Finding, LintRule, Severity
from authz.policy.lint.hosts import HTTP
from authz.policy.lint.program import ALLOW, DENY, Path, Program, below, text_of
from authz.policy.lint.syntax import Expr, Rule
from authz.policy.schema import MAYBE_ABSENT

PAYLOAD: Final[tuple[Path, ...]] = (
    ("parsed_body",),
    ("action", "arguments"),
    (*HTTP, "body"),
    (*HTTP, "rawBody"),
)
_CHECKED: Final[tuple[Path, ...]] = (("truncated_body",), ("action", "body"))

ABSENT_ALLOWS: Final = LintRule(
    id="body-absent-allows",
    severity=Severity.ERROR,
    why="The agent chooses whether the body is one that can be read: sent as another type, it is not there, "
    "the limit on it is not exceeded, and nothing denies.",
    fix='Deny first what was not read: `input.action.body != "parsed"`, or `input.truncated_body`.',
    bad='allow if {\n\tinput.agent.id == "x"\n\tnot too_much\n}\n\n'
    "too_much if input.parsed_body.amount > 100",
    good='allow if {\n\tinput.agent.id == "x"\n\tinput.action.body == "parsed"\n\tnot too_much\n}\n\n'
    "too_much if input.parsed_body.amount > 100",
)
UNCHECKED: Final = LintRule(
    id="body-unchecked",
    severity=Severity.WARNING,
    why="A body that is truncated or not JSON is null. Aegis denies a truncated one that policy reads before "
    "it asks; opa-envoy-plugin asks.",
    fix='Look whether it is all there: `input.action.body == "parsed"`, or `not input.truncated_body`.',
    bad="allow if input.parsed_body.amount <= 100",
    good='allow if {\n\tinput.action.body == "parsed"\n\tinput.parsed_body.amount <= 100\n}',
)
NEGATED: Final = LintRule(
    id="not-of-what-may-be-missing",
    severity=Severity.WARNING,
    why="`not` holds as well where the field is not there at all, and others choose which claims, headers or "
    "parameters there are.",
    fix="Ask for what has to be there: `input.agent.claims.suspended == false`, or give it a value with "
    '`object.get(input.agent.claims, "suspended", true)`.',
    bad='allow if {\n\tinput.agent.id == "x"\n\tnot input.agent.claims.suspended\n}',
    good='allow if {\n\tinput.agent.id == "x"\n\tinput.agent.claims.suspended == false\n}',
)
RULES: Final = (ABSENT_ALLOWS, UNCHECKED, NEGATED)


def check(program: Program) -> Iterator[Finding]:
    looked: dict[Path, bool] = {}
    for rule in program.rules:
        for expr, flipped in program.signed(rule):
            if payload := below(program.read(rule, expr), *PAYLOAD):
                if rule.path not in looked:
                    looked[rule.path] = _looks_at_it(program, rule)
                if not looked[rule.path] and not _only_binds(expr):
                    absence = any((side == DENY) != flipped for side in program.sides(rule))
                    kind, what = ABSENT_ALLOWS if absence else UNCHECKED, text_of(payload[0])
                    yield Finding(kind, expr.place, f"{what} is read, and nothing asks if it is there")
            elif expr.negated and ALLOW in program.sides(rule):
                yield from _negated(program, rule, expr)


def _negated(program: Program, rule: Rule, expr: Expr) -> Iterator[Finding]:
    absent = sorted(path for path in program.read(rule, expr) if _may_be_missing(path))
    if absent:
        yield Finding(NEGATED, expr.place, f"not of {text_of(absent[0])}, which may be missing")


def _only_binds(expr: Expr) -> bool:
    return expr.terms[0].name == "assign"


def _looks_at_it(program: Program, rule: Rule) -> bool:
    """Whether the decision that `rule` is a part of asks anywhere if the body is there."""
    for path in program.around(rule.path):
        for each in program.groups[path]:
            if any(below(program.read(each, expr), *_CHECKED) for expr in program.exprs(each)):
                return True
    return False


def _may_be_missing(path: Path) -> bool:
    if path[:2] == ("agent", "claims") or path[:1] == ("parsed_query",):
        return len(path) > (2 if path[0] == "agent" else 1)
    if path[:1] == ("attributes",):
        return len(path) > 1
    return path[:2] in MAYBE_ABSENT
