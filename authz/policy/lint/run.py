"""Lints a policy source: Rego in, Findings out, by OPA's syntax tree and never by the text.

Called by `aegis policy lint`, `aegis policy test` and whoever publishes a version.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from authz.policy.lint import (
    calls,
    defaults,
    hosts,
    identities,
    membership,
    payloads,
    results,
    suppressions,
)
from authz.policy.lint.finding import Edit, Finding, LintRule, Severity
from authz.policy.lint.program import Program
from authz.policy.lint.syntax import Module, modules
from authz.policy.opa_tool import OpaTool

RULES: Final[tuple[LintRule, ...]] = (
    *defaults.RULES,
    *hosts.RULES,
    *payloads.RULES,
    *identities.RULES,
    *calls.RULES,
    *membership.RULES,
    *results.RULES,
    *suppressions.RULES,
)


def lint(source: Path, entry_points: Sequence[str], *, opa: str = "opa") -> tuple[Finding, ...]:
    """What is unsafe in `source`, by place. Raises PolicyRejected for what opa cannot parse."""
    tool = OpaTool(opa)
    known = tool.json(["capabilities", "--current"], source)["builtins"]
    changing = frozenset(item["name"] for item in known if item.get("nondeterministic"))
    return _lint(tuple(modules(source, tool)), entry_points, changing)


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those with which no version is published."""
    return [finding for finding in findings if finding.rule.severity is Severity.ERROR]


def mend(source: Path, findings: Iterable[Finding]) -> list[Finding]:
    """Make the edits of `findings` in the files below `source`; those that were mended.

    Every edit makes the policy permit less. Raises OSError; a file that changed since is left alone.
    """
    mended: list[Finding] = []
    edits = [(finding.edit, finding) for finding in findings if finding.edit]
    for edit, finding in sorted(edits, key=lambda each: each[0].place, reverse=True):
        if _replace(source / edit.place.file, edit):
            mended.append(finding)
    return mended[::-1]


def _lint(
    found: tuple[Module, ...], entry_points: Sequence[str], changing: frozenset[str]
) -> tuple[Finding, ...]:
    program = Program(found, entry_points)
    said = [
        *defaults.check(program),
        *hosts.check(program),
        *payloads.check(program),
        *identities.check(program),
        *calls.check(program, changing),
        *membership.check(program),
        *results.check(program),
    ]
    once = {(finding.place, finding.rule.id): finding for finding in said}
    left = suppressions.left(found, once.values())
    return tuple(sorted(left, key=lambda finding: (finding.place, finding.rule.id)))


def _replace(file: Path, edit: Edit) -> bool:
    lines = file.read_text().split("\n")  # opa counts rows and characters like this
    row, at = edit.place.row - 1, edit.place.col - 1
    line = lines[row] if row < len(lines) else ""
    if not line.startswith(edit.old, at):
        return False
    lines[row] = line[:at] + edit.new + line[at + len(edit.old) :]
    file.write_text("\n".join(lines))
    return True
