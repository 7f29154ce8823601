"""`aegis agents`: which agents there are, what each may do, how it was known, and whose identity is shared.

For platform teams and auditors: policy data (a directory, a published version, by default the active one)
beside what the ledgers below the state directory recorded. Nothing is verified: that is the work of `aegis
verify`. What is stored may be hostile: nothing of it reaches the terminal without `plain`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from authz.cli.ledger import ConfigFile, Json, State, explained
from authz.cli.policy.common import active_bundle
from authz.config import Settings
from authz.config_file import load
from authz.ledger import agents as recorded
from authz.ledger.agents import Seen
from authz.ledger.report import plain
from authz.policy import inventory
from authz.policy.inventory import Grant, Known

WIDTH: Final = 120
_MOST: Final = 6  # lines of one cell that are shown; --json has all


def agents(
    source: Annotated[
        Path | None,
        typer.Argument(exists=True, help="Rego and data in bundle layout, or a published bundle's file."),
    ] = None,
    state: State = None,
    config: ConfigFile = None,
    ledger: Annotated[Path | None, typer.Option(help="One log's directory, or a tree of them.")] = None,
    window: Annotated[
        float,
        typer.Option(min=1, max=86400, help="Seconds within which several uses of one identity are flagged."),
    ] = 300.0,
    as_json: Json = False,
) -> None:
    """Show the agents of policy and ledger: what each may do, how it was known, who shares an identity."""
    with explained():
        settings = load(config)
        settings = settings if state is None else settings.model_copy(update={"state": state})
        known = _known(source, settings)
        there = ledger or settings.state / "ledger"
        seen = recorded.agents(there, window) if ledger or there.is_dir() else {}
    rows = inventory_of(known, seen)
    if as_json:
        typer.echo(json.dumps({"window_s": window, "agents": rows}, indent=1))
        return
    console = Console()
    wide = console if console.is_terminal else Console(width=WIDTH, color_system=None)
    wide.print(table(known, seen))


def inventory_of(known: dict[str, Known], seen: dict[str, Seen]) -> list[dict[str, Any]]:
    """One object an agent, for programs; `in_policy` tells whether policy knows it."""
    return [
        {"agent": name, "in_policy": name in known}
        | msgspec.to_builtins(known.get(name, Known("", False, (), ())))
        | {"seen": msgspec.to_builtins(seen[name]) if name in seen else None}
        for name in sorted({*known, *seen})
    ]


def table(known: dict[str, Known], seen: dict[str, Seen]) -> Table:
    """A row an agent."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_lines=True)
    for name, most in (("agent", 24), ("may", None), ("known by", 22), ("seen", 19), ("shared identity", 17)):
        shown.add_column(name, overflow="fold", max_width=most)
    for name in sorted({*known, *seen}):
        of_policy, of_ledger = known.get(name), seen.get(name)
        shown.add_row(
            _lines([name, *(_traits(of_policy) if of_policy else ["not in policy"])]),
            _lines([_grant(grant) for grant in of_policy.grants] if of_policy else []),
            _lines(_ways(of_ledger) if of_ledger else []),
            _lines(_times(of_ledger) if of_ledger else ["never"]),
            _lines([flag.what for flag in of_ledger.flags] if of_ledger else []),
        )
    return shown


def _traits(agent: Known) -> list[str]:
    return [
        *(["delegated only"] if agent.delegated_only else []),
        *(f"= {name}" for name in agent.identities),
    ]


def _grant(grant: Grant) -> str:
    where = ", ".join(grant.destinations) or "nowhere"
    limits = f" (limits: {', '.join(grant.limits)})" if grant.limits else ""
    return f"{grant.tool} [{grant.category}/{grant.sensitivity}] at {where}{limits}"


def _ways(seen: Seen) -> list[str]:
    lines = [f"{assurance} x{count}" for assurance, count in sorted(seen.assurances.items()) if assurance]
    lines += [f"key {key}" for key in seen.keys] + [f"cert {name}" for name in seen.principals]
    return [*lines, f"{len(seen.sources)} source(s)"] if seen.sources else lines


def _times(seen: Seen) -> list[str]:
    counts = [f"{count} {decision}" for decision, count in sorted(seen.decisions.items())]
    return [seen.last[:19].replace("T", " "), *counts]


def _lines(lines: list[str]) -> str:
    """Neither markup nor a command to the terminal."""
    shown = [escape(plain(line)) for line in lines[:_MOST]]
    return "\n".join([*shown, f"and {len(lines) - _MOST} more"] if len(lines) > _MOST else shown)


def _known(source: Path | None, settings: Settings) -> dict[str, Known]:
    if source is None:
        with active_bundle(settings) as bundle:
            return inventory.of_bundle(bundle)
    return inventory.of_source(source) if source.is_dir() else inventory.of_bundle(source)
