"""Does policy look for a value in a way that OPA gets wrong?

OPA 1.22 keeps an index over the conditions of rules. Of `input.a in {"x", input.b}` it indexes "x" and
forgets the rest, so the rule is not tried when `a` equals `b`: a denial written like this does not deny. A
collection that is bound to a name first, of constants alone, or of none, is looked through rightly.

In: a Program. Out: Findings. Called by `run.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from authz.policy.lint.finding import Finding, LintRule, Severity
from authz.policy.lint.program import Program
from authz.policy.lint.syntax import Term

MIXED: Final = LintRule(
    id="member-of-mixed-literal",
    severity=Severity.ERROR,
    why="OPA 1.22 indexes the constants of such a literal and forgets the rest: the rule is not tried where "
    "only another member matches, and a denial written like this does not deny.",
    fix="Give the collection a name first: `known := {...}`, then `x in known`.",
    bad='allow if input.agent.id in {"x", data.known.id}',
    good='allow if {\n\tknown := {"x", data.known.id}\n\tinput.agent.id in known\n}',
)
RULES: Final = (MIXED,)
_CONSTANT: Final = frozenset(("null", "boolean", "number", "string"))


def check(program: Program) -> Iterator[Finding]:
    for rule in program.rules:
        for expr in rule.body:
            for term in () if expr.negated or expr.some else expr.terms:
                if term.kind == "call" and term.name == "internal.member_2" and _mixed(term.value[1]):
                    yield Finding(MIXED, term.place, f"{term.value[1].text} has constants and others")


def _mixed(collection: Term) -> bool:
    if collection.kind not in ("set", "array"):
        return False
    constants = [member.kind in _CONSTANT for member in collection.value]
    return any(constants) and not all(constants)
