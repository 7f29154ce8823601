"""`aegis disclose`, `aegis erase`: reads what explains decisions, or erases it, and never without an entry.

    exit status    0 done    1 no such record, or what is kept does not fit it    2 could not run

For investigators and privacy officers on the machine that holds the keys. The `access` entry is in the
outbox, durable, before a byte of what was read is shown, and the `erasure` entry before anything is erased:
if it cannot be put there, nothing happens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, Literal

import typer

from authz import who
from authz.cli.ledger import ConfigFile, End, Json, Ledger, Start, State, explained, moment, settings_of
from authz.cli.retention import holds_of
from authz.config import Settings
from authz.errors import ConfigError, IntegrityViolation
from authz.followers import places
from authz.ledger import reader
from authz.ledger.disclosures import form
from authz.ledger.disclosures import reader as disclosures
from authz.ledger.disclosures.erase import Epoch, Erasing
from authz.ledger.disclosures.vault import Vault, vault_of
from authz.ledger.disclosures.wish import Wish
from authz.ledger.outbox import Outbox
from authz.ledger.report import plain
from authz.replay import access

Why = Annotated[str, typer.Option("--why", help="The reason; it goes into the entry, for ever.")]


def disclose(
    decision_id: Annotated[str, typer.Argument(metavar="DECISION_ID")],
    why: Why,
    state: State = None,
    config: ConfigFile = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Show what is kept of one decision: its facts, parameters, client address. Who reads is recorded."""
    with explained():
        settings = settings_of(state, config)
        found = reader.by_decision(ledger or settings.ledger_directory.parent, decision_id)
        if found is None:
            raise IntegrityViolation(f"no decision {decision_id}", file=str(settings.ledger_directory.parent))
        entry = found.members()
        said = _read(found, entry, vault_of(settings))
        absent = len(entry.get(form.MEMBER, [])) - len(said)
        if said:
            with Outbox(settings.outbox) as outbox:
                access.say(outbox, entry, sorted({each.name for each in said}), why)
    _print(said, absent, as_json)


def erase(
    why: Annotated[str, typer.Option("--why", help="The reason; it goes into the entry.")] = "",
    agent: Annotated[str, typer.Option(help="Of this agent, also where it stands in the chain.")] = "",
    subject: Annotated[
        str, typer.Option(help="Where this text stands as a whole: a name, an address, an id.")
    ] = "",
    start: Start = "",
    end: End = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    state: State = None,
    config: ConfigFile = None,
) -> None:
    """Erase disclosures by agent, subject or time. Records stay and verify as before. Without any of these it
    finishes what an earlier run could not.
    """
    with explained():
        settings = settings_of(state, config)
        with Outbox(settings.outbox) as outbox:
            erasing = Erasing(
                settings.state / "erasures",
                partial(_epochs, settings),
                vault_of(settings),
                lambda event: outbox.put("erasure", event, once=f"erasure {event['erasure_id']}"),
                holds_of(settings, outbox).covering(),
            )
            if not (agent or subject or start or end):
                _resume(erasing)
                return
            wish = _wish(agent, subject, moment(start, "--from"), moment(end, "--to"), why)
            counts = erasing.count(wish)
            for log, count in sorted(counts.items()):
                typer.echo(plain(f"{log}: {count:,} disclosures"))
            if not counts:
                typer.echo("nothing is kept that is meant")
            elif not dry_run:
                _erase(erasing, wish)


def _wish(agent: str, subject: str, start: str, end: str, why: str) -> Wish:
    if agent and subject:
        raise ConfigError("--agent and --subject: only one of them")
    if start and end and start >= end:
        raise ConfigError("--from is not before --to")
    by: Literal["agent", "subject", "time"] = "agent" if agent else "subject" if subject else "time"
    return Wish(by, agent or subject, start, end, who.runs_this(), why)


def _erase(erasing: Erasing, wish: Wish) -> None:
    if not wish.why:
        raise ConfigError("--why: an erasure needs a reason")
    try:
        plan, count = erasing.erase(wish)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    typer.echo(f"erased {count:,} disclosures; erasure {plan.erasure_id}")
    typer.echo(f"salt {plan.salt}: only with it the entry shows what was erased; keep it, or drop it")


def _resume(erasing: Erasing) -> None:
    plans = erasing.resume()
    for plan in plans:
        typer.echo(f"finished erasure {plan.erasure_id}")
    if not plans:
        typer.echo("nothing is unfinished; say --agent, --subject, --from or --to")


def _epochs(settings: Settings) -> Iterator[Epoch]:
    for found in places.find(settings.ledger_directory.parent, settings.deployment):
        yield Epoch(found.directory, found.log)


def _read(found: reader.Found, entry: dict[str, Any], vault: Vault) -> list[form.Disclosure]:
    """Raises IntegrityViolation for what does not fit the entry."""
    kept = disclosures.of_entry(found.file.parent.parent, str(entry.get("log")), found.seq, vault)
    return [each for line in kept for each in disclosures.fitting(line, entry.get(form.MEMBER))]


def _print(said: list[form.Disclosure], absent: int, as_json: bool) -> None:
    if as_json:
        shown = [{"name": each.name, "value": each.value, "disclosure": each.text} for each in said]
        typer.echo(json.dumps({"disclosures": shown, "not_here": absent}, indent=1))
        return
    for each in said:
        typer.echo(plain(f"{each.name}:"))
        for line in json.dumps(each.value, indent=1, ensure_ascii=False).splitlines():
            typer.echo(f"  {plain(line)}")
    if absent:
        typer.echo(f"{absent} of its disclosures are not here: erased, or lost")
    elif not said:
        typer.echo("nothing is kept of it beyond the record")
