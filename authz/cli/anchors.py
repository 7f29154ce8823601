"""`aegis anchors ...`: how far each anchor is, and what those outside hold.

For operators and auditors. `status` reads the disk, a running follower is not asked; `fetch` asks S3 and the
witnesses. Exit status 0: all is well; 1: something is late, or stands behind a newer version; 2: could not
run. What is stored may be hostile: nothing of it reaches the terminal without `plain`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from authz.cli.ledger import ConfigFile, Json, State, explained, settings_of
from authz.config import Settings
from authz.errors import ConfigError, EvidenceUnavailable
from authz.followers.anchors.anchor import Anchor, Refused, Unavailable
from authz.followers.anchors.checkpoints import Checkpoints
from authz.followers.anchors.directory import file_name
from authz.followers.anchors.receipts import Receipts
from authz.followers.durable_files import create, make_directories
from authz.followers.own_keys import OwnKeys
from authz.ledger import members, notes
from authz.ledger.keys import public_key, vkey
from authz.ledger.report import plain

EXIT_STANDS: Final = 1
SLACK_S: Final = 60.0  # with three times its interval: late, as deploy/prometheus/rules.yaml has it

app = typer.Typer(no_args_is_help=True, help="Anchors: how far they are, what they hold.")


@app.command()
def status(state: State = None, config: ConfigFile = None, as_json: Json = False) -> None:
    """Show for each anchor and log what it has seen, and for how long it has seen nothing newer."""
    with explained():
        settings = settings_of(state, config)
        rows = list(_rows(settings, _anchors(settings), time.time()))
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        for row in rows:
            _print(row)
    raise typer.Exit(EXIT_STANDS if any(row["late"] for row in rows) else 0)


@app.command()
def vkeys(state: State = None, config: ConfigFile = None) -> None:
    """Print each log that witnesses are shown with the verifier keys that sign it now, a line each, for their
    operators: every epoch is a log of its own, so there are new lines after a start.
    """
    with explained():
        settings = settings_of(state, config)
        publics = [public_key(seed) for seed in OwnKeys.of(settings).seeds]
        for candidate in _checkpoints(settings).sealed(settings.anchors.of("witness")):
            if not candidate.place.final:
                for public in publics:
                    typer.echo(plain(f"{candidate.log} {vkey(candidate.log, public)}"))


@app.command()
def fetch(
    directory: Annotated[Path, typer.Argument(help="Where to put it, one directory an anchor; for verify.")],
    state: State = None,
    config: ConfigFile = None,
) -> None:
    """Fetch what S3 and the witnesses hold of the deployment's logs, for `aegis verify --anchors DIRECTORY`.

    Of an object the first version counts: object lock keeps it, and lets newer ones be put in front.
    """
    with explained():
        settings = settings_of(state, config)
        replaced = 0
        try:
            for anchor in _anchors(settings):
                replaced += _fetched(settings, anchor, directory / anchor.kind)
        except (Unavailable, Refused) as error:
            raise EvidenceUnavailable(str(error)) from None
    raise typer.Exit(EXIT_STANDS if replaced else 0)


def _anchors(settings: Settings) -> list[Anchor]:
    from authz.followers.anchors.outside import anchors  # here, so that other commands need not load it all

    found = anchors(settings)
    if not found:
        raise ConfigError("no anchors are set: `anchors.witness`, `.rfc3161`, `.s3`, `.directory`")
    return found


def _checkpoints(settings: Settings) -> Checkpoints:
    return Checkpoints(settings.ledger_directory.parent, settings.deployment, OwnKeys.of(settings))


def _rows(settings: Settings, found: list[Anchor], now: float) -> Iterator[dict[str, Any]]:
    receipts = Receipts(settings.path(settings.anchors.receipts))
    checkpoints = _checkpoints(settings)
    for anchor in found:
        for candidate in checkpoints.sealed(settings.anchors.of(anchor.kind)):
            done = receipts.last(candidate.log).get(anchor.kind)
            size, at = (done.size, done.at) if done else (0, candidate.began)
            behind = candidate.size > size and not candidate.place.final
            lag_s = max(0.0, now - at) if behind else 0.0
            yield {
                "anchor": anchor.kind,
                "log": candidate.log,
                "anchored": size,
                "sealed": candidate.size,
                "ended": candidate.place.final,
                "lag_s": round(lag_s, 1),
                "late": lag_s > 3 * anchor.every_s + SLACK_S,
            }


def _print(row: dict[str, Any]) -> None:
    if row["anchored"] >= row["sealed"]:
        behind = "up to date"
    else:
        behind = "ended, a later epoch binds it" if row["ended"] else f"{row['lag_s']:.0f} s behind"
    late = "  LATE" if row["late"] else ""
    counts = f"{row['anchored']:,} of {row['sealed']:,} sealed entries, {behind}{late}"
    typer.echo(plain(f"{row['anchor']:<9}  {row['log']}  {counts}"))


def _fetched(settings: Settings, anchor: Anchor, directory: Path) -> int:
    """How many of its objects have newer versions in front of what was anchored."""
    if anchor.kind == "witness":
        for candidate in _checkpoints(settings).sealed():
            if note := anchor.larger(candidate.log, 0):
                _keep(directory, candidate.log, notes.parse(note).size, ".cosigned", note)
        return 0
    if anchor.kind != "s3":
        return 0  # a directory can be given to `verify` as it is, and an authority keeps nothing
    from authz.followers.anchors.s3 import S3Anchor  # here, so that nobody else loads boto3

    replaced = 0
    assert isinstance(anchor, S3Anchor)
    for held in anchor.held(f"{settings.deployment}/"):
        log, _, name = held.key.rpartition("/")
        if not members.LOG.fullmatch(log) or not name.isdecimal():
            typer.echo(plain(f"{held.key}: no anchor's name"), err=True)
            continue
        _keep(directory, log, int(name), "", held.data)
        if held.later:
            replaced += 1
            typer.echo(plain(f"{held.key}: {held.later} newer versions in front of {held.version_id}"))
    return replaced


def _keep(directory: Path, log: str, size: int, suffix: str, data: bytes) -> None:
    """Never over a file that is there."""
    file = directory / log / f"{file_name(size)}{suffix}"
    make_directories(file.parent)
    if not create(file, data) and file.read_bytes() != data:
        raise ConfigError(f"{file}: something else lies there; choose an empty directory")
    typer.echo(plain(str(file)))
