"""`aegis status`: what of a deployment runs, and how it is, on one screen.

For whoever is called at night. It reads files below the state directory, the loopback metrics of worker and
follower, and OPA's socket: each may be away, and then that is what it says. Exit status 0: all is well; 1:
something is not; 2: could not run. What it reads may be hostile: nothing reaches a terminal without `plain`.
"""

from __future__ import annotations

import json

import msgspec
import typer

from authz.cli.ledger import ConfigFile, Json, State, explained, settings_of
from authz.cli.status.parts import Part, parts
from authz.cli.status.reading import read
from authz.ledger.report import plain

EXIT_NOT_WELL = 1
_COLOURS = {"ok": "green", "warn": "yellow", "down": "red"}
_MOST = 300  # characters of one line


def status(state: State = None, config: ConfigFile = None, as_json: Json = False) -> None:
    """Show worker, OPA, policy, failed activation, cache, follower, ledger and anchors, a line each."""
    with explained():
        settings = settings_of(state, config)
        found = parts(settings, read(settings))
    well = all(part.state in ("ok", "off") for part in found)
    if as_json:
        told = {"well": well, "parts": [msgspec.to_builtins(part) for part in found]}
        typer.echo(json.dumps(told, indent=1))
    else:
        for part in found:
            typer.echo(_line(part))
    raise typer.Exit(0 if well else EXIT_NOT_WELL)


def _line(part: Part) -> str:
    said = plain(part.said)
    said = f"{said[: _MOST - 1]}…" if len(said) > _MOST else said
    return f"{part.name:<12} {typer.style(f'{part.state:<8}', fg=_COLOURS.get(part.state))} {said}"
