"""`aegis policy propose`: what the data would have to say for requests on record that it did not permit.

    exit status    0 done, perhaps nothing to propose    1 evidence is wrong    2 could not run

For policy authors. Out: a diff for people to judge and `patch -p0` to apply, with a line for each kind of
request; nothing is changed. That something was asked for is no reason to permit it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from authz.cli import recorded
from authz.cli.ledger import ConfigFile, End, Ledger, Start, State, explained, settings_of
from authz.cli.policy.common import Source
from authz.ledger.refused import refused
from authz.ledger.report import plain
from authz.policy.proposal import Wish
from authz.policy.proposal import propose as proposed


def propose(
    source: Source = Path("rego"),
    start: Start = "",
    end: End = "",
    last: recorded.Last = "",
    agent: Annotated[str, typer.Option(help="Only what this agent wanted.")] = "",
    at_least: Annotated[int, typer.Option(min=1, help="Only what came so often.")] = 1,
    ledger: Ledger = None,
    state: State = None,
    config: ConfigFile = None,
) -> None:
    """Propose data for SOURCE from requests on record that policy did not permit, as a diff to review."""
    with explained():
        settings = settings_of(state, config)
        wanted = recorded.interval(start, end, last)
        found = refused(ledger or settings.ledger_directory.parent, wanted.start, wanted.end)
        wishes = [
            Wish(each.agent, each.method, each.host, each.port, each.path, each.tool, each.reason, count)
            for each, count in found.requests.items()
            if count >= at_least and (not agent or each.agent == agent)
        ]
        made = proposed(source, wishes)
    for why, count in found.left_out.most_common():
        typer.echo(f"# left out: {count} requests: {why}")
    for each in made.left_out:
        typer.echo(plain(f"# left out: {each}: a name that the data cannot have"))
    if not made.diff:
        typer.echo("# nothing to propose")
        return
    typer.echo(
        "# Judge each: that it was asked for is no reason to permit it. What says `decide` is yours to say."
    )
    for note in made.notes:
        typer.echo(plain(f"# {note}"))
    typer.echo(made.diff, nl=False)
