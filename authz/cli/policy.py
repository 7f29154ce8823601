"""`aegis policy ...`: make a policy version, make it the active one, tell OPA of it, show what it reads.

For policy authors and for `make up`. Everything lies below the state directory: the signing key in
`keys/policy.pem`, versions in `bundles/`. A version that cannot be made ends with exit code 1 and the reason.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from authz.cli import matrix as shown
from authz.config import Settings
from authz.errors import AegisError, PolicyRejected
from authz.followers import bundles
from authz.policy import matrix as matrices
from authz.policy.document import FIELDS
from authz.policy.facts import is_volatile
from authz.policy.manifest import Analysis
from authz.policy.signing import ensure_signing_key, public_key
from authz.policy.version import DEFAULT_ENTRY_POINTS, analyse_source, build_bundle

app = typer.Typer(no_args_is_help=True, help="Policy versions: build, activate, show what they read.")
SIGNING_KEY = Path("keys/policy.pem")
BUNDLES = Path("bundles")

Source = Annotated[
    Path, typer.Argument(exists=True, file_okay=False, help="Rego and data, in bundle layout.")
]
State = Annotated[Path, typer.Option("--state", help="The state directory.")]
Entries = Annotated[list[str] | None, typer.Option("--entry", help="Entry point, e.g. aegis/decision.")]


@app.command()
def build(
    source: Source,
    version: Annotated[str, typer.Option("--version", help="Its name, e.g. v1.3.2.")],
    state: State = Path("var"),
    entry: Entries = None,
) -> None:
    """Check, analyse, sign and publish SOURCE as a version that never changes."""
    with _explained():
        key = state / SIGNING_KEY
        ensure_signing_key(key)
        made = build_bundle(
            source,
            state / BUNDLES,
            version=version,
            signing_key=key,
            entry_points=entry or DEFAULT_ENTRY_POINTS,
        )
        typer.echo(made.revision)
        _warn(made.analysis)


@app.command()
def activate(version: str, state: State = Path("var")) -> None:
    """Make the published VERSION the one that OPA is given."""
    with _explained():
        typer.echo(bundles.activate(state / BUNDLES, version))


@app.command("opa-config")
def opa_config(
    url: Annotated[
        str, typer.Argument(help="Where the follower serves bundles, e.g. http://127.0.0.1:8282.")
    ],
    state: State = Path("var"),
) -> None:
    """Print the configuration of an OPA that takes its policy from URL, and only what our key signed."""
    with _explained():
        told = bundles.opa_config(url, public_key(state / SIGNING_KEY))
        typer.echo(json.dumps(told, indent=1))


@app.command()
def facts(source: Source, entry: Entries = None) -> None:
    """Show which fields of the input document SOURCE reads, by entry point."""
    with _explained():
        analysis = analyse_source(source, entry or DEFAULT_ENTRY_POINTS)
        Console().print(_table(analysis))
        _warn(analysis)


@app.command()
def matrix(
    source: Annotated[
        Path | None,
        typer.Argument(exists=True, help="Rego and data in bundle layout, or a published bundle's file."),
    ] = None,
    state: State = Path("var"),
    running: Annotated[bool, typer.Option("--running", help="Ask the OPA that runs below --state.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")] = False,
) -> None:
    """Show what each category of action needs at each sensitivity; of the active version without SOURCE."""
    with _explained():
        found = _matrix(source, state, running)
    if as_json:
        typer.echo(json.dumps(shown.as_object(found), indent=1))
    else:
        console = Console()
        wide = console if console.is_terminal else Console(width=shown.WIDTH, color_system=None)
        wide.print(shown.table(found))


def _matrix(source: Path | None, state: Path, running: bool) -> matrices.Matrix:
    if running:
        if source is not None:
            raise PolicyRejected("--running asks OPA: leave SOURCE out")
        return asyncio.run(matrices.of_opa(state / Settings().policy.opa_socket))
    if source is None:
        source = bundles.active(state / BUNDLES)
        if source is None:
            raise PolicyRejected(f"{state / BUNDLES}: no version is active; name a directory or a bundle")
    return matrices.of_source(source) if source.is_dir() else matrices.of_bundle(source)


def _table(analysis: Analysis) -> Table:
    table = Table("entry point", Column("reads", overflow="fold"), "note")
    for name, found in analysis.entry_points.items():
        for path in found.facts:
            table.add_row(name, "input" + "".join(f"[{term!r}]" for term in path), _note(path))
        if not found.facts:
            table.add_row(name, "nothing", "")
    return table


def _note(path: tuple[str, ...]) -> str:
    if not any(path[: len(field)] == field or field[: len(path)] == path for field in FIELDS):
        return "no such field: always undefined"
    return "volatile: verdicts are not cached" if is_volatile(path) else ""


def _warn(analysis: Analysis) -> None:
    if analysis.nondeterministic:
        names = ", ".join(analysis.nondeterministic)
        typer.echo(f"not cached: {names} may answer differently each time", err=True)
    for name, found in analysis.entry_points.items():
        if not found.prune:
            typer.echo(f"{name}: what it reads is not known; it is asked the whole input", err=True)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except AegisError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
