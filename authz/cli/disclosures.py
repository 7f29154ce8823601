"""`aegis disclose`: reads what explains a decision, for whoever may, and never without an `access` entry.

    exit status    0 done    1 no such record, or what is kept does not fit it    2 could not run

For investigators on the machine that holds the keys. The `access` entry is in the outbox, durable, before a
byte of what was read is shown: if it cannot be put there, nothing is.
"""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Annotated, Any

import typer

from authz.cli.ledger import ConfigFile, Json, State, explained, settings_of
from authz.errors import ConfigError, IntegrityViolation
from authz.ledger import reader
from authz.ledger.disclosures import form
from authz.ledger.disclosures import reader as disclosures
from authz.ledger.disclosures.vault import vault_of
from authz.ledger.outbox import Outbox
from authz.ledger.report import plain

Why = Annotated[str, typer.Option("--why", help="The reason; it goes into the entry, for ever.")]


def disclose(
    decision_id: Annotated[str, typer.Argument(metavar="DECISION_ID")],
    why: Why,
    state: State = None,
    config: ConfigFile = None,
    ledger: Annotated[
        Path | None, typer.Option(help="A log's directory, or a tree of them; else the state's.")
    ] = None,
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
                _put(outbox, entry, decision_id, sorted({each.name for each in said}), why)
    _print(said, absent, as_json)


def _read(found: reader.Found, entry: dict[str, Any], vault: Any) -> list[form.Disclosure]:
    """Raises IntegrityViolation for what does not fit the entry."""
    kept = disclosures.of_entry(found.file.parent.parent, str(entry.get("log")), found.seq, vault)
    return [each for line in kept for each in disclosures.fitting(line, entry.get(form.MEMBER))]


def _put(outbox: Outbox, entry: dict[str, Any], decision_id: str, names: list[str], why: str) -> None:
    event = {
        "who": who(),
        "why": why,
        "of": entry["log"],
        "at_seq": entry["seq"],
        "decision_id": decision_id,
        "names": names,
    }
    try:
        outbox.put("access", event)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def who() -> str:
    """Who runs this command, as the system knows them."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"


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
