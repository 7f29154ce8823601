"""`aegis tail`: decisions as they come, one line each, for whoever watches a gateway at work.

It reads the ledger's files and nothing else; no worker notices. Nothing is verified: that is the work of
`aegis verify`. What is stored may be hostile: nothing of it reaches the terminal without `plain`.

    2026-11-24 22:14:31.120  allow  billing-agent  billing.charge POST http://payments.example/charges
        permitted  matrix/payment/confidential  1.2ms  20261124T201429Z-ab5f065fa58e8cf9@4     (one line)

The place at its end is one that `aegis show` takes. The time is how long policy took: `cached` where its
verdict was kept, `-` where policy was not asked.
"""

from __future__ import annotations

import heapq
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from authz import canonical
from authz.cli.ledger import explained
from authz.ledger.recent import Watch
from authz.ledger.report import plain
from authz.values import Decision

POLL_S: Final = 0.25
_MOST: Final = 160  # characters shown of what was asked for
_COLOURS: Final = {"allow": "green", "approval_needed": "yellow", "would_block": "magenta"}
_KIND: Final = b'"kind":"decision"'  # entries are canonical: it is written in no other way

Members = dict[str, Any]
Filter = Callable[[Members], bool]


def tail(
    ledger: Annotated[Path, typer.Argument(help="One log's directory, or a tree of them.")] = Path(
        "var/ledger"
    ),
    agent: Annotated[list[str] | None, typer.Option(help="Only this agent; may be repeated.")] = None,
    decision: Annotated[list[Decision] | None, typer.Option(help="Only this; may be repeated.")] = None,
    reason: Annotated[list[str] | None, typer.Option(help="Only this reason code; may be repeated.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=10_000, help="How many of before.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print whole records, one JSON object each.")
    ] = False,
) -> None:
    """Show the newest decisions, and with -f those that come: read from disk, not verified."""
    wanted = _filter(agent, decision, reason)
    shown = json.dumps if as_json else line
    with explained():
        try:
            for members in _decisions(ledger, wanted, lines, follow):
                typer.echo(shown(members))
        except KeyboardInterrupt:  # how watching ends
            raise typer.Exit(0) from None
        except BrokenPipeError:  # whoever reads has seen enough; nothing may be flushed there any more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None


def _filter(agent: list[str] | None, decision: list[Decision] | None, reason: list[str] | None) -> Filter:
    given = {"agent_id": agent, "decision": decision, "reason_code": reason}
    wanted = {name: set(map(str, values)) for name, values in given.items() if values}
    return lambda members: all(members.get(name) in values for name, values in wanted.items())


def _decisions(
    ledger: Path, wanted: Filter, count: int, follow: bool, wait: Callable[[float], None] = time.sleep
) -> Iterator[Members]:
    """The last `count` wanted decisions in the order of their times, then all that come."""
    watch = Watch(ledger)
    newest = (list(islice(_wanted(worker, wanted), count)) for worker in watch.back())
    whole = heapq.merge(*(reversed(found) for found in newest), key=_time)
    yield from list(whole)[-count:] if count else ()
    while follow:
        yield from _wanted(watch.news(), wanted)
        wait(POLL_S)


def _wanted(entries: Iterator[bytes], wanted: Filter) -> Iterator[Members]:
    for entry in entries:
        if _KIND not in entry:
            continue
        try:
            members = canonical.parse(entry)
        except ValueError:
            typer.echo("a line that is no entry is not shown; `aegis verify` says where it is", err=True)
            continue
        if members.get("kind") == "decision" and wanted(members):
            yield members


def _time(members: Members) -> str:
    return str(members.get("timestamp"))


def line(members: Members) -> str:
    """One decision for a person: when, what was decided, who, what for, why, how long, where it is."""
    say = {name: plain(str(value)) for name, value in members.items() if not isinstance(value, list | dict)}
    asked = " ".join(say[name] for name in ("tool", "method", "endpoint") if name in say)
    if len(asked) > _MOST:
        asked = f"{asked[: _MOST - 1]}…"
    decision = say.get("decision", "?")
    columns = [
        say.get("timestamp", "?")[:23].replace("T", " "),
        typer.style(f"{decision:<15}", fg=_COLOURS.get(decision, "red")),
        f"{say.get('agent_id', '?'):<16}",
        asked,
        say.get("reason_code", "?"),
        say.get("rule", "-"),
        _took(members),
        f"{say.get('log', '?').rpartition('/')[2]}@{say.get('seq', '?')}",
    ]
    return "  ".join(columns)


def _took(members: Members) -> str:
    if members.get("cache") == "hit":
        return "cached"
    took = members.get("evaluation_us")
    return f"{took / 1000:.1f}ms" if isinstance(took, int) and members.get("engine") != "none" else "-"
