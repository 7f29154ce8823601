"""`aegis policy test`: whether a policy source is right, in one go, and again whenever it changes.

    exit status    0 all is well (warnings are printed)    1 something is not

For policy authors. In: a source in bundle layout. Out: one line for each step, and below it what is wrong.
"""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from authz.cli.ledger import ConfigFile
from authz.cli.policy.common import Entries, Source, entries_of, explained
from authz.cli.policy.lint import show
from authz.config_file import load
from authz.ledger.report import plain
from authz.policy.checks import Standards
from authz.policy.trial import Step, stamp, trial

LOOK_S: Final = 0.2  # between two looks for changes


def try_source(
    source: Source = Path("rego"),
    watch: Annotated[
        bool, typer.Option("--watch", help="Again whenever a file changes; end it with ^C.")
    ] = False,
    coverage: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Percent of lines that tests run; else `publishing.coverage`."),
    ] = None,
    entry: Entries = None,
    config: ConfigFile = None,
) -> None:
    """Check SOURCE: format, names of the input, what is unsafe, and its own tests with their coverage."""
    with explained():
        settings = load(config)
    entries = entries_of(settings, entry)
    least = settings.publishing.coverage if coverage is None else coverage
    standards = Standards(formatted=True, schema=not settings.policy.compat, coverage=least)
    if not watch:
        raise typer.Exit(0 if _once(source, entries, standards) else 1)
    try:
        while True:
            seen = stamp(source)
            typer.echo(f"-- {datetime.now().astimezone():%H:%M:%S}")
            _once(source, entries, standards)
            while stamp(source) == seen:
                time.sleep(LOOK_S)
    except KeyboardInterrupt:
        raise typer.Exit from None  # whoever watched has seen how it is


def _once(source: Path, entries: list[str], standards: Standards) -> bool:
    start, good = time.monotonic(), True
    for step in trial(source, entries, standards):
        good = good and step.ok
        _tell(source, step)
    typer.echo(f"{'all is well' if good else 'not well'} after {time.monotonic() - start:.1f} s")
    return good


def _tell(source: Path, step: Step) -> None:
    typer.echo(f"{'ok  ' if step.ok else 'FAIL'}  {step.name:<7} {step.seconds:.1f} s")
    for line in step.said.splitlines():
        typer.echo(plain(line))
    if step.findings:
        show(source, step.findings)
