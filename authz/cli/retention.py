"""`aegis prune`, `aegis hold`, `aegis restore`: how long records stay, what must not go, and what comes back.

    exit status    0 done    1 stored evidence is not what was signed    2 could not run

For records managers and lawyers, beside the follower or in its place. Everything here leaves an entry in the
deployment's control log.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import typer

from authz.cli.ledger import ConfigFile, End, Start, State, explained, moment, settings_of
from authz.config import Settings
from authz.errors import ConfigError
from authz.followers import places
from authz.followers.retention.holds import Hold, Holds
from authz.followers.retention.restore import restore as bring_back
from authz.followers.retention.setup import archive_of, pruning
from authz.ledger.outbox import Outbox
from authz.ledger.report import plain
from authz.who import runs_this

Why = Annotated[str, typer.Option("--why", help="The reason; it goes into the entry.")]

hold = typer.Typer(no_args_is_help=True, help="Legal holds: what must not be deleted or erased.")


def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what a round would do.")] = False,
    state: State = None,
    config: ConfigFile = None,
) -> None:
    """One round of retention: plan what may go, delete what was planned and is due."""
    with explained():
        settings = settings_of(state, config)
        with Outbox(settings.outbox) as outbox:
            did = pruning(settings, outbox, dry_run=dry_run).round()
        for each in did:
            typer.echo(plain(f"{each.log} segment {each.number}: {each.what}"))
        if not did:
            typer.echo("nothing may go yet")


def restore(
    log: Annotated[str, typer.Argument(help="The log's name, DEPLOYMENT/WORKER/EPOCH.")],
    segment: Annotated[int, typer.Argument(min=0, help="Which 65,536 entries: seq // 65536.")],
    why: Why,
    state: State = None,
    config: ConfigFile = None,
) -> None:
    """Bring a deleted segment back from the archive, if it is exactly what was deleted."""
    with explained():
        settings = settings_of(state, config)
        archive = archive_of(settings)
        if archive is None:
            raise ConfigError("retention.archive.bucket: not set, there is no archive")
        found = places.find(settings.ledger_directory.parent, settings.deployment)
        place = next((place for place in found if place.log == log), None)
        if place is None:
            raise ConfigError(f"{log}: no such log here")
        file = bring_back(place.directory, log, segment, archive)
        said = {
            "action": "restore",
            "who": runs_this(),
            "why": why,
            "class": "restored",
            "of": log,
            "first_segment": segment,
            "last_segment": segment,
            "entries": 0,
            "archive": settings.retention.archive.bucket,
        }
        with _said(settings) as outbox:
            outbox.put("prune", said)
        typer.echo(plain(f"{file}: restored"))


@hold.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What it is called from now on.")],
    why: Why,
    log: Annotated[list[str] | None, typer.Option(help="Only this log; several times for more.")] = None,
    agent: Annotated[str, typer.Option(help="Only what this agent did, or was done through it.")] = "",
    start: Start = "",
    end: End = "",
    state: State = None,
    config: ConfigFile = None,
) -> None:
    """Hold records: nothing that it covers is deleted or erased from now on. Without options: all."""
    with explained(), _holds(settings_of(state, config)) as holds:
        since, until = moment(start, "--from"), moment(end, "--to")
        holds.add(Hold(name, runs_this(), why, tuple(log or ()), agent, since, until))
        typer.echo(f"{name}: holds")


@hold.command("list")
def show(state: State = None, config: ConfigFile = None) -> None:
    """List the holds, what each covers and why."""
    with explained(), _holds(settings_of(state, config)) as holds:
        found = holds.all()
        for each in found:
            scope = [*each.logs, each.agent_id and f"agent {each.agent_id}"]
            scope += [each.start and f"from {each.start}", each.end and f"to {each.end}"]
            covers = ", ".join(filter(None, scope)) or "everything"
            typer.echo(plain(f"{each.name}: {covers}; {each.who}: {each.why}"))
        if not found:
            typer.echo("no holds")


@hold.command("release")
def release(
    name: Annotated[str, typer.Argument()], why: Why, state: State = None, config: ConfigFile = None
) -> None:
    """Let go of a hold."""
    with explained(), _holds(settings_of(state, config)) as holds:
        holds.release(name, runs_this(), why)
        typer.echo(f"{name}: released")


def holds_of(settings: Settings, outbox: Outbox) -> Holds:
    return Holds(settings.state / "holds", partial(outbox.put, "hold"))


@contextmanager
def _holds(settings: Settings) -> Iterator[Holds]:
    with _said(settings) as outbox:
        yield holds_of(settings, outbox)


@contextmanager
def _said(settings: Settings) -> Iterator[Outbox]:
    """What no entry can hold is the caller's mistake."""
    with Outbox(settings.outbox) as outbox:
        try:
            yield outbox
        except ValueError as error:
            raise ConfigError(str(error)) from None
