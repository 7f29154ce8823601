"""`aegis outcomes`: which decisions have an outcome, which outcomes a decision, and what went out without.

    exit status    0 nothing was forwarded without a recorded allow    1 something was    2 could not run

For operators and auditors, from the files alone. What is stored may be hostile: nothing of it reaches the
terminal without `plain`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from authz.cli.ledger import Json, explained
from authz.ledger.outcomes import describe, join
from authz.ledger.report import plain

EXIT_BREACH: Final = 1


def outcomes(
    ledger: Annotated[Path, typer.Argument(help="One log's directory, or a tree of them.")] = Path(
        "var/ledger"
    ),
    after: Annotated[
        float,
        typer.Option(min=0, max=86400, help="Seconds after which a decision should have its outcome."),
    ] = 60.0,
    as_json: Json = False,
) -> None:
    """Join decisions with what Envoy says became of them: exit status 1 if something went out unallowed."""
    with explained():
        found = join(ledger, after)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found), indent=1))
    else:
        for line in describe(found):
            typer.echo(plain(line))
    raise typer.Exit(EXIT_BREACH if found.breaches else 0)
