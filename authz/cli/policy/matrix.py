"""`aegis policy matrix`: what each category of action needs, of a source, a version, or a running OPA.

In: a directory, a bundle, a state directory. Out: `cli/matrix.py`'s table or JSON.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from authz.cli import matrix as shown
from authz.cli.ledger import ConfigFile, Json, State
from authz.cli.policy.common import active_bundle, explained, settings_of
from authz.config import Settings
from authz.errors import PolicyRejected
from authz.policy import matrix as matrices


def matrix(
    source: Annotated[
        Path | None,
        typer.Argument(exists=True, help="Rego and data in bundle layout, or a published bundle's file."),
    ] = None,
    state: State = None,
    config: ConfigFile = None,
    running: Annotated[bool, typer.Option("--running", help="Ask the OPA that runs below --state.")] = False,
    as_json: Json = False,
) -> None:
    """Show what each category of action needs at each sensitivity; of the active version without SOURCE."""
    with explained():
        found = _matrix(source, settings_of(state, config, there=source is None), running)
    if as_json:
        typer.echo(json.dumps(shown.as_object(found), indent=1))
    else:
        console = Console()
        wide = console if console.is_terminal else Console(width=shown.WIDTH, color_system=None)
        wide.print(shown.table(found))


def _matrix(source: Path | None, settings: Settings, running: bool) -> matrices.Matrix:
    if running:
        if source is not None:
            raise PolicyRejected("--running asks OPA: leave SOURCE out")
        return asyncio.run(matrices.of_opa(settings.path(settings.policy.opa_socket)))
    if source is None:
        with active_bundle(settings) as bundle:
            return matrices.of_bundle(bundle)
    return matrices.of_source(source) if source.is_dir() else matrices.of_bundle(source)
