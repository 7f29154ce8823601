"""Is what the entry point returns something that Aegis takes?

In: a Program. Out: Findings. Called by `run.py`. Anything else is denied as `policy_error` at run time, by
`verdict.py`; opa-envoy-plugin then answers with an error that Envoy may let through.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Final

from authz.policy.lint.finding import Finding, LintRule, Severity
from authz.policy.lint.program import Path, Program
from authz.policy.lint.syntax import Expr, Rule, Term, terms_of
from authz.policy.verdict import DECISIONS, REASON_CODE

WORD: Final = LintRule(
    id="unknown-decision",
    severity=Severity.ERROR,
    why="A decision is allow, deny, sanitize or approval_needed; another word is a `policy_error`.",
    fix="Use one of the four words.",
    bad='decision := {"decision": "block", "reason_code": "not_listed"} if input.agent.id == "x"',
    good='decision := {"decision": "deny", "reason_code": "not_listed"} if input.agent.id == "x"',
)
REASON: Final = LintRule(
    id="reason-missing",
    severity=Severity.WARNING,
    why="A decision without a `reason_code` (lower-case words with `_`) is a `policy_error`, and nobody can "
    "tell later why it was made.",
    fix="Name the reason in the object itself, beside the decision.",
    bad='decision := {"decision": "allow"} if input.agent.id == "x"',
    good='decision := {"decision": "allow", "reason_code": "listed"} if input.agent.id == "x"',
)
UNDEFINED: Final = LintRule(
    id="entry-without-default",
    severity=Severity.WARNING,
    why="Where no rule matches the entry point is undefined: `policy_error` here, and an error that "
    "`failure_mode_allow` lets through with opa-envoy-plugin.",
    fix='Say what holds otherwise: `default decision := {"decision": "deny", "reason_code": "no_rule"}`.',
    bad='verdict := {"decision": "allow", "reason_code": "listed"} if input.agent.id == "x"',
    good='default verdict := {"decision": "deny", "reason_code": "not_permitted"}\n\n'
    'verdict := {"decision": "allow", "reason_code": "listed"} if input.agent.id == "x"',
)
CONFLICT: Final = LintRule(
    id="conflicting-values",
    severity=Severity.WARNING,
    why="Two of the rule's values may hold for one request. OPA then fails for that one: `policy_error`.",
    fix="Join them by `else`, so that the first one that holds decides.",
    bad='decision := {"decision": "allow", "reason_code": "listed"} if input.agent.id == "x"\n\n'
    'decision := {"decision": "deny", "reason_code": "night"} if input.now.hour < 6',
    good='decision := {"decision": "deny", "reason_code": "night"} if {\n\tinput.now.hour < 6\n} else := '
    '{"decision": "allow", "reason_code": "listed"} if {\n\tinput.agent.id == "x"\n}',
)
RULES: Final = (WORD, REASON, UNDEFINED, CONFLICT)


def check(program: Program) -> Iterator[Finding]:
    for rule in program.rules:
        if rule.value is not None:
            yield from _form(rule.value)
    for path in program.entries:
        if path in program.groups and not any(
            rule.default or rule.unconditional for rule in program.groups[path]
        ):
            first = program.groups[path][0]
            yield Finding(UNDEFINED, first.place, f"{'/'.join(path)} is undefined where no rule matches")
    for path, group in program.groups.items():
        yield from _conflicts(path, group)


def _form(value: Term) -> Iterator[Finding]:
    for term in terms_of(value):
        members = {name.value: item for name, item in term.value} if term.kind == "object" else {}
        decision, reason = members.get("decision"), members.get("reason_code")
        if decision is None or decision.kind != "string":
            continue
        if decision.value not in DECISIONS:
            yield Finding(WORD, decision.place, f"{decision.text} is no decision")
        if reason is None:
            yield Finding(REASON, term.place, f"{decision.text} without a reason_code")
        elif reason.kind == "string" and not REASON_CODE.fullmatch(reason.value):
            yield Finding(REASON, reason.place, f"{reason.text} is no reason_code")


def _conflicts(path: Path, group: list[Rule]) -> Iterator[Finding]:
    """Pairs of a complete rule's definitions with different values that nothing keeps apart."""
    complete = [rule for rule in group if not (rule.default or rule.key or rule.args or rule.open)]
    for one, other in combinations(complete, 2):
        same_rule = one.place.file == other.place.file and one.chain == other.chain
        if same_rule or _same(one.value, other.value) or _apart(one.body, other.body):
            continue
        yield Finding(
            CONFLICT, other.place, f"{path[-1]} has another value at {one.place.file}:{one.place.row}"
        )
        return


def _same(one: Term | None, other: Term | None) -> bool:
    return one is other or (one is not None and other is not None and one.text == other.text)


def _apart(one: tuple[Expr, ...], other: tuple[Expr, ...]) -> bool:
    """Whether one body asks for `x == 1` and the other for `x == 2`, or for `not` the same."""
    return any(_contradict(left, right) for left in one for right in other)


def _contradict(left: Expr, right: Expr) -> bool:
    if len(left.terms) != 1 or len(right.terms) != 1:
        return False
    one, other = left.terms[0], right.terms[0]
    if left.negated != right.negated:
        return one.text.removeprefix("not ") == other.text.removeprefix("not ")
    equations = _equation(one), _equation(other)
    return not left.negated and equations[0][0] == equations[1][0] != "" and equations[0] != equations[1]


def _equation(term: Term) -> tuple[str, str]:
    """(`input.x`, its value) of `input.x == 1`; two empty texts for anything else."""
    if term.kind == "call" and term.name in ("equal", "eq"):
        for one, other in (term.value, term.value[::-1]):
            if one.kind == "ref" and other.kind in ("string", "number", "boolean"):
                return one.text, other.text
    return "", ""
