"""`aegis policy facts`: which fields of the input document a policy reads, where, and what that costs.

For policy authors. In: a source in bundle layout; for what it costs in hits, recorded decisions with their
facts. Out: text or JSON. Who reads facts is recorded before anything is shown; what is shown holds counts and
names of fields, no facts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console

from authz.cli import recorded
from authz.cli.ledger import ConfigFile, End, Ledger, Start, State
from authz.cli.policy import facts_shown as shown
from authz.cli.policy.common import Entries, Source, explained, settings_of
from authz.errors import ConfigError
from authz.ledger.outbox import Outbox
from authz.policy.making import DEFAULT_ENTRY_POINTS
from authz.policy.manifest import entry_name
from authz.policy.width import Explained, explain
from authz.replay import access
from authz.replay import recorded as records
from authz.replay.hits import Counting, Hits, held_by


def facts(
    source: Source,
    entry: Entries = None,
    why: Annotated[
        str, typer.Option("--why", help="The reason for reading recorded facts, for the access entry.")
    ] = "",
    start: Start = "",
    end: End = "",
    last: recorded.Last = "",
    ledger: Ledger = None,
    state: State = None,
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")] = False,
) -> None:
    """Show which fields SOURCE reads, by rule and place, what makes its questions large, and, with --why, how
    many recorded decisions its cache would have answered.
    """
    with explained():
        if not why and any((start, end, last, ledger, state, config)):
            raise ConfigError("--why: recorded facts are read for a reason only")
        found = explain(source, entry or DEFAULT_ENTRY_POINTS)
        hits = _hits(found, recorded.interval(start, end, last), why, ledger, state, config) if why else {}
    if as_json:
        typer.echo(json.dumps(shown.as_object(found, hits), indent=1))
        return
    console = Console()
    wide = console if console.is_terminal else Console(width=shown.WIDTH, color_system=None)
    for name, each in found.items():
        shown.show(wide, source, name, each, hits.get(name))


def _hits(
    found: Mapping[str, Explained],
    wanted: records.Wanted,
    why: str,
    ledger: Ledger,
    state: State,
    config: ConfigFile,
) -> dict[str, Hits]:
    """Of the entry point that the settings name: that of the decisions that were recorded."""
    settings = settings_of(state, config)
    name = entry_name(settings.policy.entry_point)
    if name not in found:
        raise ConfigError(f"decisions are recorded of entry point {name}: name it with --entry")
    path = ledger or settings.ledger_directory.parent
    each, policy = found[name], settings.policy
    with recorded.judges_of(settings, name) as judges, Outbox(settings.outbox) as outbox:
        counting = Counting(
            each.entry,
            held_by(judges),
            deterministic=not each.changing,
            ttl_s=policy.cache_ttl_s,
            size=policy.cache_size,
        )
        read = access.said(records.decisions(path, wanted, recorded.vault_if_there(settings)), outbox, why)
        for decision in recorded.watched(read, records.count(path, wanted), "decisions"):
            counting.add(decision)
    return {name: counting.result()}
