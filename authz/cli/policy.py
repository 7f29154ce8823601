"""`aegis policy ...`: make a policy version, make it the active one, tell OPA of it, show what it reads.

For policy authors and for `make up`. The signing key is `keys/policy.pem` below the state directory,
versions are in `follower.bundle_directory`. A version that cannot be made ends with exit code 1 and the
reason; so does a state directory that is not there, since a misspelt one would get a signing key that no OPA
trusts.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from authz import who
from authz.cli import matrix as shown
from authz.config import Settings
from authz.config_file import load
from authz.errors import AegisError, ConfigError, PolicyRejected
from authz.followers import bundles
from authz.followers.releases import Releases
from authz.policy import matrix as matrices
from authz.policy.document import FIELDS
from authz.policy.facts import is_volatile
from authz.policy.manifest import Analysis
from authz.policy.signing import ensure_signing_key, public_key
from authz.policy.version import DEFAULT_ENTRY_POINTS, analyse_source

app = typer.Typer(no_args_is_help=True, help="Policy versions: build, activate, show what they read.")
SIGNING_KEY = Path("keys/policy.pem")
# Names that people can put in order, and that no typing error makes: Semantic Versioning 2.0 without a `+`.
_VERSION = re.compile(
    r"v(?:0|[1-9][0-9]{0,5})(?:\.(?:0|[1-9][0-9]{0,5})){2}(?:-[0-9A-Za-z]+(?:[.-][0-9A-Za-z]+)*)?"
)

Source = Annotated[
    Path, typer.Argument(exists=True, file_okay=False, help="Rego and data, in bundle layout.")
]
State = Annotated[Path | None, typer.Option("--state", help="The state directory; else the settings' own.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="Settings, a YAML file.")]
Why = Annotated[str, typer.Option(help="The reason, for the control log.")]
Entries = Annotated[list[str] | None, typer.Option("--entry", help="Entry point, e.g. aegis/decision.")]


@app.command()
def build(
    source: Source,
    version: Annotated[str, typer.Option("--version", help="Its name, e.g. v1.3.2 or v1.4.0-rc.1.")],
    state: State = None,
    config: ConfigFile = None,
    entry: Entries = None,
    why: Why = "",
) -> None:
    """Check, analyse, sign and publish SOURCE as a version that never changes."""
    with _explained():
        settings = _settings(state, config)
        if not _VERSION.fullmatch(version):
            raise PolicyRejected(
                f"{version!r}: a version is named vN.N.N, perhaps with a -suffix: v1.4.0-rc.1"
            )
        key = settings.path(SIGNING_KEY)
        if not key.exists():
            typer.echo(
                f"{key}: made; an OPA takes what it signs when told by `aegis policy opa-config`", err=True
            )
        ensure_signing_key(key)
        made = _releases(settings, why).publish(
            source, version=version, signing_key=key, entry_points=entry or DEFAULT_ENTRY_POINTS
        )
        typer.echo(made.revision)
        _warn(made.analysis)


@app.command()
def activate(version: str, state: State = None, config: ConfigFile = None, why: Why = "") -> None:
    """Make the published VERSION the one that OPA is given."""
    with _explained():
        typer.echo(_releases(_settings(state, config), why).activate(version))


def _releases(settings: Settings, why: str) -> Releases:
    directory = settings.path(settings.follower.bundle_directory)
    return Releases(directory, settings.outbox, who.runs_this(), why)


@app.command("opa-config")
def opa_config(
    url: Annotated[
        str | None, typer.Argument(help="Where the follower serves bundles; else as `follower.bundles` says.")
    ] = None,
    state: State = None,
    config: ConfigFile = None,
    command: Annotated[
        Path | None,
        typer.Option("--command", metavar="FILE", help="Print the command line of an OPA told by FILE."),
    ] = None,
) -> None:
    """Print what OPA must be told: where the follower serves the policy, and the key that signs it."""
    with _explained():
        settings = _settings(state, config)
        if command is not None:
            socket = settings.path(settings.policy.opa_socket)
            typer.echo(shlex.join(bundles.opa_command(socket, command.absolute())))
            return
        key = settings.path(SIGNING_KEY)
        if not key.exists():
            raise ConfigError(f"{key}: no such file; the first `aegis policy build` makes it")
        told = bundles.opa_config(url or f"http://{settings.follower.bundles}", public_key(key))
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
    state: State = None,
    config: ConfigFile = None,
    running: Annotated[bool, typer.Option("--running", help="Ask the OPA that runs below --state.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")] = False,
) -> None:
    """Show what each category of action needs at each sensitivity; of the active version without SOURCE."""
    with _explained():
        found = _matrix(source, _settings(state, config, there=source is None), running)
    if as_json:
        typer.echo(json.dumps(shown.as_object(found), indent=1))
    else:
        console = Console()
        wide = console if console.is_terminal else Console(width=shown.WIDTH, color_system=None)
        wide.print(shown.table(found))


def _settings(state: Path | None, config: Path | None, *, there: bool = True) -> Settings:
    """Raises ConfigError where there is no state directory, if it has to be `there`."""
    settings = load(config)
    if state is not None:
        settings = settings.model_copy(update={"state": state})
    if there and not settings.state.is_dir():
        raise ConfigError(
            f"{settings.state}: no such state directory; `aegis keys generate` makes one, as does `make up`"
        )
    return settings


def _matrix(source: Path | None, settings: Settings, running: bool) -> matrices.Matrix:
    if running:
        if source is not None:
            raise PolicyRejected("--running asks OPA: leave SOURCE out")
        return asyncio.run(matrices.of_opa(settings.path(settings.policy.opa_socket)))
    if source is None:
        published = settings.path(settings.follower.bundle_directory)
        source = bundles.active(published)
        if source is None:
            raise PolicyRejected(f"{published}: no version is active; name a directory or a bundle")
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
