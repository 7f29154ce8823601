"""Comments that say why a finding is no fault: `# aegis-lint: ignore RULE-ID: reason`.

In: Findings, the comments of their files. Out: the Findings that are left, and those about the comments.
Called by `run.py`. A comment counts for its own row, and for the next one if nothing else stands on its row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from authz.policy.lint.finding import Finding, LintRule, Severity
from authz.policy.lint.syntax import Comment, Module

BARE: Final = LintRule(
    id="suppression-without-reason",
    severity=Severity.ERROR,
    why="Whoever reads the policy later cannot tell why the rule does not hold here.",
    fix="Write `# aegis-lint: ignore RULE-ID: the reason`.",
    bad='# aegis-lint: ignore host-by-affix\nallow if endswith(input.destination.host, "example.com")',
    good="# aegis-lint: ignore host-by-affix: the resolver knows names of ours only\n"
    'allow if endswith(input.destination.host, "example.com")',
)
IDLE: Final = LintRule(
    id="suppression-unused",
    severity=Severity.WARNING,
    why="It may hide a finding that somebody makes there later.",
    fix="Take the comment out, or correct the rule's id.",
    bad='# aegis-lint: ignore host-by-affix: left over\nallow if input.destination.host == "api.example.com"',
    good='allow if input.destination.host == "api.example.com"',
)
RULES: Final = (BARE, IDLE)
_FORM: Final = re.compile(r"aegis-lint:\s*ignore\s+([a-z-]+)(?:\s*:\s*(.*))?")


def left(modules: Sequence[Module], findings: Iterable[Finding]) -> Iterator[Finding]:
    """`findings` that no comment suppresses; then what is wrong with the comments."""
    marks = [
        (comment, found)
        for each in modules
        for comment in each.comments
        if (found := _FORM.match(comment.text))
    ]
    used: set[int] = set()
    for finding in findings:
        by = [
            at
            for at, (comment, found) in enumerate(marks)
            if found[1] == finding.rule.id and _covers(comment, finding)
        ]
        used.update(by)
        if not any(marks[at][1][2] for at in by):
            yield finding
    for at, (comment, found) in enumerate(marks):
        if not found[2]:
            yield Finding(BARE, comment.place, f"{found[1]} is ignored without a reason")
        elif at not in used:
            yield Finding(IDLE, comment.place, f"{found[1]} was not found here")


def _covers(comment: Comment, finding: Finding) -> bool:
    where, row = comment.place, finding.place.row
    return where.file == finding.place.file and (row == where.row or (comment.alone and row == where.row + 1))
