"""`aegis policy lint`: what makes a policy unsafe, with the place, the reason and the fix.

    exit status    0 no errors (warnings are printed)    1 errors, or a source that cannot be read

For policy authors. In: a source in bundle layout. Out: findings, as lines or as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from authz.cli.ledger import ConfigFile
from authz.cli.policy.common import Entries, Source, entries_of, explained
from authz.config_file import load
from authz.errors import PolicyRejected
from authz.policy.lint.finding import Finding
from authz.policy.lint.page import page
from authz.policy.lint.run import RULES, errors, mend
from authz.policy.lint.run import lint as linted


def lint(
    source: Source = Path("rego"),
    entry: Entries = None,
    config: ConfigFile = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what can be mended so that the policy permits less.")
    ] = False,
    rules: Annotated[
        bool, typer.Option("--rules", help="Print all rules as Markdown, with examples.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")] = False,
) -> None:
    """Find what makes the policy in SOURCE unsafe: allows by default, hosts matched in part, and more."""
    if rules:
        typer.echo(page(RULES), nl=False)
        return
    with explained():
        entries = entries_of(load(config), entry)
        found = linted(source, entries)
        if fix:
            while mended := mend(source, found):  # one place may have more than one fault
                for finding in mended:
                    typer.echo(f"mended {line(source, finding)}", err=True)
                found = linted(source, entries)
    if as_json:
        typer.echo(json.dumps({"findings": [as_object(finding) for finding in found]}, indent=1))
    else:
        show(source, found)
    raise typer.Exit(1 if errors(found) else 0)


def refuse_unsafe(source: Path, entries: Sequence[str]) -> None:
    """For whoever publishes: warnings go to stderr. Raises PolicyRejected with the errors."""
    found = linted(source, entries)
    wrong = errors(found)
    for finding in found:
        if finding not in wrong:
            typer.echo(line(source, finding), err=True)
    if wrong:
        lines = (f"{line(source, finding)}\n    fix: {finding.rule.fix}" for finding in wrong)
        raise PolicyRejected("\n".join(lines))


def show(source: Path, found: tuple[Finding, ...]) -> None:
    """Each finding with why and how to fix it; then how many there are."""
    for finding in found:
        typer.echo(line(source, finding))
        typer.echo(f"    why: {finding.rule.why}")
        mends = " (--fix does it)" if finding.edit else ""
        typer.echo(f"    fix: {finding.rule.fix}{mends}")
    wrong = len(errors(found))
    typer.echo(f"lint: {wrong} errors, {len(found) - wrong} warnings")


def line(source: Path, finding: Finding) -> str:
    """`rego/decision.rego:9:2: error: host-by-affix: ...`, which editors jump to."""
    place, rule = finding.place, finding.rule
    return f"{source / place.file}:{place.row}:{place.col}: {rule.severity}: {rule.id}: {finding.what}"


def as_object(finding: Finding) -> dict[str, Any]:
    place, rule = finding.place, finding.rule
    return {
        "rule": rule.id,
        "severity": str(rule.severity),
        "file": place.file,
        "row": place.row,
        "col": place.col,
        "what": finding.what,
        "why": rule.why,
        "fix": rule.fix,
        "mends": finding.edit is not None,
    }
