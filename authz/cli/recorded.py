"""What the commands share that put recorded decisions to policy again: which decisions, which version.

In: what was typed, the settings. Out: Wanted, a Version, the vault; ConfigError for what cannot be meant.
Called by `aegis replay`, `explain`, `verify --level 4` and `policy candidate`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from authz.cli.ledger import moment
from authz.config import Settings
from authz.errors import ConfigError
from authz.followers.bundles import copies_of
from authz.ledger.disclosures.vault import Vault, vault_of
from authz.replay import version as versions
from authz.replay.judges import Judges
from authz.replay.recorded import Wanted
from authz.replay.version import NotJudged, Version

Why = Annotated[str, typer.Option("--why", help="The reason for reading facts, for the access entry.")]
Last = Annotated[str, typer.Option("--last", help="Of the time before now: 90s, 30m, 12h, 7d, 4w.")]
Entry = Annotated[str, typer.Option("--entry", help="Entry point; else that of the settings.")]

_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_Thing = TypeVar("_Thing")


def interval(start: str, end: str, last: str, now: datetime | None = None) -> Wanted:
    """Raises ConfigError."""
    if last and (start or end):
        raise ConfigError("--last: not together with --from or --to")
    if last:
        return Wanted(start=_before(last, now or datetime.now(UTC)))
    wanted = Wanted(moment(start, "--from"), moment(end, "--to"))
    if wanted.start and wanted.end and wanted.start >= wanted.end:
        raise ConfigError("--from is not before --to")
    return wanted


def _before(last: str, now: datetime) -> str:
    found = _SPAN.fullmatch(last)
    if not found:
        raise ConfigError(f"--last: {last}: not a number and s, m, h, d or w")
    return moment((now - timedelta(**{_UNITS[found[2]]: int(found[1])})).isoformat(), "--last")


def version_of(settings: Settings, called: str, entry_point: str) -> Version:
    """The version that `called` means: a directory of sources, or a published one. Raises PolicyRejected,
    NotJudged.
    """
    if Path(called).is_dir():
        return versions.of_source(Path(called), (entry_point,))
    found = versions.named(copies_of(settings), called)
    if entry_point not in found.analysis.entry_points:
        raise NotJudged(f"{found.label}: it has no entry point {entry_point}")
    return found


def judges_of(settings: Settings, entry_point: str) -> Judges:
    return Judges(copies_of(settings), entry_point, compat=bool(settings.policy.compat))


def vault_if_there(settings: Settings) -> Vault | None:
    """The keys of disclosures; None where this state never had any."""
    there = settings.path(settings.disclosures.key).exists()
    return vault_of(settings) if there else None


def watched(things: Iterable[_Thing], total: int, what: str) -> Iterator[_Thing]:
    """`things`, while a bar on a terminal's stderr says how far they are."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        for thing in things:
            yield thing
            progress.advance(task)
