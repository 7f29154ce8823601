"""`aegis policy candidate`: which recorded decisions another version would have decided otherwise.

    exit status    0 none    3 some    1 evidence is wrong    2 could not run

For policy authors. Recorded facts go to the candidate in an OPA of its own, beside nothing that decides. Who
reads them is recorded before anything is shown; the report itself holds names, counts and ids, no facts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from authz.cli import recorded
from authz.cli.ledger import ConfigFile, End, Json, Ledger, Start, State, explained, settings_of
from authz.ledger.outbox import Outbox
from authz.ledger.report import plain
from authz.replay import access
from authz.replay import recorded as records
from authz.replay.changes import Changes, Group, largest
from authz.replay.recorded import WORDS
from authz.replay.replaying import replay

CHANGED = 3
SHOWN = 20  # groups of each kind, for people
WIDTH = 120  # where it goes to no terminal


def candidate(
    policy: Annotated[str, typer.Option(help="A source directory, or a published version.")],
    why: recorded.Why,
    start: Start = "",
    end: End = "",
    last: recorded.Last = "",
    ledger: Ledger = None,
    entry: recorded.Entry = "",
    state: State = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show what a candidate would change about recorded decisions: all of them, or those of an interval."""
    with explained():
        settings = settings_of(state, config)
        path = ledger or settings.ledger_directory.parent
        entry = entry or settings.policy.entry_point
        wanted = recorded.interval(start, end, last)
        version = recorded.version_of(settings, policy, entry)
        changes = Changes()
        with recorded.judges_of(settings, entry) as judges, Outbox(settings.outbox) as outbox:
            found = access.said(
                records.decisions(path, wanted, recorded.vault_if_there(settings)), outbox, why
            )
            total = records.count(path, wanted)
            for each in recorded.watched(replay(found, judges, version), total, f"under {policy}"):
                changes.add(each)
    if as_json:
        typer.echo(json.dumps({"candidate": version.label} | changes.as_object(), indent=1))
    else:
        show(changes, version.label)
    raise typer.Exit(CHANGED if changes.turned or changes.reasoned else 0)


def show(changes: Changes, label: str) -> None:
    """For people."""
    for line in summary(changes, label):
        typer.echo(plain(line))
    console = Console()
    wide = console if console.is_terminal else Console(width=WIDTH, color_system=None)
    for title, groups in (
        ("by rule", changes.rules),
        ("by agent", changes.agents),
        ("by destination", changes.destinations),
    ):
        if groups:
            wide.print(_table(title, largest(groups)))


def summary(changes: Changes, label: str) -> Iterator[str]:
    """Line by line."""
    span = f", {changes.first} to {changes.last}" if changes.decisions else ""
    yield f"{changes.decisions:,} decisions{span}"
    yield f"{changes.replayed:,} of them put to {label}:"
    yield f"  {changes.turned:,} would be decided otherwise"
    yield f"  {changes.reasoned:,} the same way, by another rule, for another reason or otherwise described"
    yield f"  {changes.same:,} as they were"
    if changes.faults:
        yield f"  to {changes.faults:,} of all it gives no usable answer, and so denies"
    for why, count in changes.left_out.most_common():
        yield f"not_replayable: {why}: {count:,} ({WORDS[records.Why(why)]})"


def _table(title: str, groups: list[Group]) -> Table:
    table = Table(title, "was", "would be", "decisions", "for example")
    for group in groups[:SHOWN]:
        table.add_row(
            plain(group.name), group.before, group.now, f"{group.count:,}", plain(group.examples[0])
        )
    if len(groups) > SHOWN:
        table.add_row(f"and {len(groups) - SHOWN} more", "", "", "", "")
    return table
