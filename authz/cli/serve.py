"""`aegis serve`, `aegis follow`, `aegis config`: the long-running processes, and what they are told.

For platform teams. A mistake in the settings, a key that cannot be used or an address that is taken ends with
exit status 2 and one sentence; a worker whose ledger failed ends with 3 and is to be started again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from authz.config import Settings
from authz.config_file import load
from authz.errors import AegisError

ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="Settings, a YAML file.")]
AcceptDamage = Annotated[
    bool,
    typer.Option(
        "--accept-damage", help="Go on in a new epoch although a checkpoint covers what is damaged."
    ),
]
EXIT_CANNOT_START = 2
ENVOYS_LOOK_S = 0.5  # the interval of the health check in envoy/*.yaml

config = typer.Typer(no_args_is_help=True, help="Settings: check them, show them.")


def serve(file: ConfigFile = None, accept_damage: AcceptDamage = False) -> None:
    """Run a worker: answer Envoy's Check requests, and record every decision."""
    with explained():
        settings = load(file)
        from authz.app import serve as run  # here, so that other commands need not load gRPC

        raise typer.Exit(_run(settings, lambda: run(settings, file=file, accept_damage=accept_damage)))


def follow(file: ConfigFile = None, accept_damage: AcceptDamage = False) -> None:
    """Run the follower: seal the ledgers, write the control log, export records, serve policy to OPA."""
    with explained():
        settings = load(file)
        from authz.followers.process import follow as run

        _yield_to_workers(settings.follower.nice)
        raise typer.Exit(_run(settings, lambda: run(settings, accept_damage=accept_damage)))


@config.command()
def check(
    file: ConfigFile = None,
    files: Annotated[bool, typer.Option("--files", help="Also read the keys, as a start does.")] = False,
) -> None:
    """Validate the settings and the environment's overrides."""
    with explained():
        settings = load(file)
        if files:
            _check_files(settings)
        if settings.listen.drain_s <= ENVOYS_LOOK_S:
            interval = f"Envoy's health check looks every {ENVOYS_LOOK_S} s"
            typer.echo(
                f"listen.drain_s: {settings.listen.drain_s}: {interval}, a stop loses requests", err=True
            )
        typer.echo(f"{file or 'defaults'}: ok")


def _check_files(settings: Settings) -> None:
    """Raises KeyUnusable for what would keep a worker or a follower from starting."""
    from authz import http_client
    from authz.followers.anchors.outside import anchors
    from authz.identity.keyset import KeySet
    from authz.ledger import keys
    from authz.wire.tls import open_tls

    for key in (settings.ledger.record_key, settings.ledger.log_key):
        keys.load(settings.path(key))
    for address in filter(None, (settings.listen.check, settings.listen.outcomes)):
        open_tls(settings, address)
    anchors(settings)
    identity = settings.identity
    if identity.jwks_url:
        http_client.trust(identity.jwks_ca and settings.path(identity.jwks_ca))
    else:
        KeySet(settings.path(identity.jwks), identity.algorithms, time.time)


@config.command()
def show(file: ConfigFile = None) -> None:
    """Print the whole tree as it is in force, defaults included."""
    with explained():
        typer.echo(yaml.safe_dump(load(file).model_dump(mode="json"), sort_keys=False), nl=False)


@config.command()
def reference() -> None:
    """Print every setting with its default and what it means."""
    for line in describe(Settings, ""):
        typer.echo(line)


def describe(section: Any, prefix: str) -> Iterator[str]:
    """One line a setting: name, default, meaning."""
    for name, field in section.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from describe(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name} = {field.default!s}\n    {field.description}"


@contextmanager
def explained() -> Iterator[None]:
    """Turn the project's own errors into one sentence and exit status 2."""
    try:
        yield
    except AegisError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_CANNOT_START) from None


def _yield_to_workers(nice: int) -> None:
    """Lower this process's priority to `nice`, never raise it."""
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))


def _run(settings: Settings, main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    import uvloop

    from authz.telemetry import logs

    logs.configure(settings.telemetry.log_level)
    return uvloop.run(main())
