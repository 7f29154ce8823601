"""`aegis policy shadow-report`: what would have been blocked by what is in shadow, before it is enforced.

    exit status    0 done    1 a line that is no entry    2 could not run

In: a ledger, labels, an interval; the settings and the active version, for what is in shadow now. Out: tables
for people, or one JSON object. What is stored may be hostile: nothing of it reaches the terminal without
`plain`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from authz.cli.ledger import (
    ConfigFile,
    End,
    Json,
    Ledger,
    Start,
    State,
    explained,
    moment,
    settings_of,
    to_a_reader,
)
from authz.cli.policy.common import active_bundle
from authz.config import Settings
from authz.controls.shadow import NOTHING, Shadow
from authz.errors import AegisError
from authz.ledger import labels, shadow_report
from authz.ledger.report import plain
from authz.ledger.shadow_report import Filter, Reviewed, Row, ShadowReport
from authz.replay.version import of_bundle
from authz.values import ShadowScope

WIDTH: Final = 160  # columns where the output is no terminal
MOST: Final = 20  # rows of a table for people


def report(
    start: Start = "",
    end: End = "",
    rule: Annotated[str, typer.Option(help="Only what this rule would have blocked.")] = "",
    agent: Annotated[str, typer.Option(help="Only requests of this agent.")] = "",
    destination: Annotated[str, typer.Option(help="Only requests to it: https://api.example:8443.")] = "",
    state: State = None,
    config: ConfigFile = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Show what policy in shadow would have blocked, by rule, agent and destination; how often wrongly."""
    with explained():
        settings = settings_of(state, config)
        place = ledger or settings.ledger_directory.parent
        asked = Filter(moment(start, "--from"), moment(end, "--to"), rule, agent, destination)
        said = labels.read(place, settings.outbox)
        found = shadow_report.report(place, asked, said)
        scope = _in_shadow(settings)
    with to_a_reader():
        if as_json:
            typer.echo(json.dumps(_as_object(found, said.waiting, scope), indent=1))
            return
        console = Console()
        wide = console if console.is_terminal else Console(width=WIDTH, color_system=None)
        for each in (*_now(scope, found), *describe(found, said.waiting)):
            wide.print(each, soft_wrap=isinstance(each, str), markup=False, highlight=False)


def _in_shadow(settings: Settings) -> ShadowScope | None:
    """By the settings and the active version; None where that is not here."""
    try:
        with active_bundle(settings) as file:
            active = of_bundle(file)
    except (AegisError, OSError):
        return None
    said = settings.shadow
    shadow = Shadow(said.scope, said.versions)
    version, _, digest = active.label.partition("+")
    shadow.activated(version, digest, active.analysis.shadow)
    return shadow.scope


def _as_object(found: ShadowReport, waiting: int, scope: ShadowScope | None) -> dict[str, Any]:
    whole: dict[str, Any] = msgspec.to_builtins(found)
    now = None if scope is None else {"all": scope.all, "agents": scope.agents, "rules": scope.rules}
    return whole | {"labels_waiting": waiting, "in_shadow": now}


def _now(scope: ShadowScope | None, found: ShadowReport) -> Iterator[str]:
    """What is in shadow now, and which of it stopped nothing: it may be misspelt."""
    if scope is None or scope == NOTHING:
        yield "in shadow now: " + ("nothing" if scope else "not known here")
        return
    if scope.all:
        yield "in shadow now: everything"
    for what, names, rows in (("rules", scope.rules, found.rules), ("agents", scope.agents, found.agents)):
        if not names:
            continue
        seen = {row.rule or row.agent for row in rows}
        unseen = [name for name in names if name not in seen]
        would = f"; would have blocked nothing: {', '.join(unseen)}" if unseen else ""
        yield plain(f"in shadow now: {what} {', '.join(names)}{would}")


def describe(found: ShadowReport, waiting: int) -> Iterator[str | Table]:
    """For people: lines and tables."""
    total = found.total
    blocked = f"{total.would_block:,} would have been blocked ({_percent(total.share)})"
    yield f"{_interval(found.asked)}: {total.requests:,} requests, {blocked}"
    if waiting:
        yield f"{waiting:,} labels counted here still wait for the control log"
    if not total.would_block:
        return
    yield f"false positives: {_errors(total.reviewed)}"
    yield ""
    yield _table("rule", found.rules, (row.rule for row in found.rules))
    yield _table("agent", found.agents, (row.agent for row in found.agents))
    yield _table("destination", found.destinations, (row.destination for row in found.destinations))
    names = (f"{row.rule}\n{row.agent}\n{row.destination}" for row in found.rows)
    yield _table("rule, agent, destination", found.rows, names, examples=True)


def _table(title: str, rows: list[Row], names: Iterable[str], *, examples: bool = False) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_lines=examples)
    table.add_column(title, overflow="fold")
    for column in ("would block", "of requests", "share"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("policy said", overflow="fold")
    table.add_column("false positives", overflow="fold")
    if examples:
        table.add_column("the newest", no_wrap=True)
    for row, name in list(zip(rows, names, strict=True))[:MOST]:
        cells = [name or "(no rule)", f"{row.would_block:,}", f"{row.requests:,}", _percent(row.share)]
        cells += [_said(row), _errors(row.reviewed), *(["\n".join(row.examples)] if examples else [])]
        table.add_row(*("\n".join(map(plain, cell.split("\n"))) for cell in cells))
    if len(rows) > MOST:
        table.add_row(f"and {len(rows) - MOST:,} more (--json has them)")
    return table


def _said(row: Row) -> str:
    return ", ".join(f"{said or '?'} {count:,}" for said, count in sorted(row.policy_decisions.items()))


def _errors(reviewed: Reviewed) -> str:
    """The share among the labelled ones, its interval, and how many labels are behind it."""
    if not reviewed.labelled:
        return "no labels"
    disputed = f", {reviewed.disputed:,} disputed" if reviewed.disputed else ""
    if reviewed.share is None or reviewed.low is None or reviewed.high is None:
        return f"{reviewed.labelled:,} labelled{disputed}: no agreement"
    between = f"{_percent(reviewed.low)} to {_percent(reviewed.high)}"
    return f"{_percent(reviewed.share)} ({between} at 95%) of {reviewed.labelled:,} labelled{disputed}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _interval(asked: Filter) -> str:
    if not asked.start and not asked.end:
        return "all records"
    return f"from {asked.start or 'the first record'} to {asked.end or 'the last'}"
