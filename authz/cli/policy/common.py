"""What the commands of `aegis policy` share: their options, the settings, a refusal as a sentence.

In: what was typed. Out: Settings, or exit status 1 with one line. Called by every module beside it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from authz.config import Settings
from authz.config_file import load
from authz.errors import AegisError, ConfigError, PolicyRejected
from authz.followers.bundles import versions_of
from authz.policy.manifest import Analysis
from authz.policy.versions import SUFFIX

SIGNING_KEY: Final = Path("keys/policy.pem")

Source = Annotated[
    Path, typer.Argument(exists=True, file_okay=False, help="Rego and data, in bundle layout.")
]
Entries = Annotated[list[str] | None, typer.Option("--entry", help="Entry point, e.g. aegis/decision.")]


def settings_of(state: Path | None, config: Path | None, *, there: bool = True) -> Settings:
    """Raises ConfigError where there is no state directory, if it has to be `there`."""
    settings = load(config)
    if state is not None:
        settings = settings.model_copy(update={"state": state})
    if there and not settings.state.is_dir():
        raise ConfigError(
            f"{settings.state}: no such state directory; `aegis keys generate` makes one, as does `make up`"
        )
    return settings


def entries_of(settings: Settings, named: list[str] | None) -> list[str]:
    """The entry points of a new version: those `named`, else the one that is asked, which may be a package
    where policy was written for opa-envoy-plugin.
    """
    asked = settings.policy.entry_point
    return named or [f"/{asked}" if settings.policy.compat else asked]


@contextmanager
def active_bundle(settings: Settings) -> Iterator[Path]:
    """A file with the bundle of the active version. Raises PolicyRejected if none is."""
    versions = versions_of(settings)
    active = versions.active()
    if active is None:
        raise PolicyRejected(f"{versions.store.place()}: no version is active; name a directory or a bundle")
    with tempfile.TemporaryDirectory(prefix="aegis-policy-") as name:
        file = Path(name) / f"{active.revision}{SUFFIX}"
        file.write_bytes(versions.bundle(active.revision))
        yield file


def warn(analysis: Analysis) -> None:
    """Say on stderr what makes a policy slow."""
    if analysis.nondeterministic:
        names = ", ".join(analysis.nondeterministic)
        typer.echo(f"not cached: {names} may answer differently each time", err=True)
    for name, found in analysis.entry_points.items():
        if not found.prune:
            typer.echo(f"{name}: what it reads is not known; it is asked the whole input", err=True)


@contextmanager
def explained() -> Iterator[None]:
    """An error of ours becomes its sentence and exit status 1."""
    try:
        yield
    except AegisError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
