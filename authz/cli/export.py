"""`aegis export status`: how far each exporter is, by its cursors on disk; a running follower is not asked.

For operators. Exit status 0: all is well; 1: a cursor that does not fit, or dead letters; 2: could not run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import typer

from authz.cli.ledger import ConfigFile, Json, State, explained, settings_of
from authz.config import Settings
from authz.errors import CursorUnusable
from authz.followers.durable import Durable, Extent
from authz.followers.exporters.cursor import Cursors
from authz.followers.exporters.dead_letters import DeadLetters
from authz.followers.own_keys import OwnKeys
from authz.ledger.report import plain

EXIT_STANDS: Final = 1

app = typer.Typer(no_args_is_help=True, help="Exporters: how far they are.")


@app.callback()
def _group() -> None:
    """Keeps `status` a command of its own."""


@app.command()
def status(state: State = None, config: ConfigFile = None, as_json: Json = False) -> None:
    """Show for each exporter and worker what is exported, what waits, and what was refused."""
    with explained():
        settings = settings_of(state, config)
        own = OwnKeys.of(settings)
        extents = Durable(settings.ledger_directory.parent, settings.deployment, own).extents()
        directory = settings.path(settings.exporters.directory)
        found = [_of(directory / name, extents) for name in _names(settings, directory)]
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        for each in found:
            _print(each)
    raise typer.Exit(EXIT_STANDS if any(each["faults"] or each["dead_letters"] for each in found) else 0)


def _names(settings: Settings, directory: Path) -> list[str]:
    """The exporters that are configured, and those that once were."""
    configured = {"files": settings.exporters.files.enabled, "otlp": bool(settings.exporters.otlp.endpoint)}
    return [name for name, on in configured.items() if on or any((directory / name).glob("*/*.json"))]


def _of(directory: Path, extents: list[Extent]) -> dict[str, Any]:
    cursors, faults = Cursors(directory), []
    workers: dict[str, dict[str, int]] = {}
    for extent in extents:
        row = workers.setdefault(extent.worker, {"exported": 0, "waiting": 0})
        try:
            done = cursors.load(extent).size
        except CursorUnusable as error:
            faults.append(str(error))
            done = 0
        row["exported"] += done
        row["waiting"] += extent.size - done
    letters = DeadLetters(directory, lambda: 0.0).stored()
    return {"exporter": directory.name, "workers": workers, "dead_letters": letters, "faults": faults}


def _print(found: dict[str, Any]) -> None:
    for worker, row in found["workers"].items():
        counts = f"{row['exported']:,} exported, {row['waiting']:,} waiting"
        typer.echo(plain(f"{found['exporter']}  {worker}  {counts}"))
    if found["dead_letters"]:
        typer.echo(f"{found['exporter']}  {found['dead_letters']:,} dead letters")
    for fault in found["faults"]:
        typer.echo(plain(f"{found['exporter']}  STOPPED: {fault}"))
