"""`aegis show`, and what all commands about evidence share.

    exit status    0 verified, found or done    1 not verified, or no such record    2 could not run

What is stored may be hostile: nothing of it reaches the terminal without `plain`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from authz.config import Settings
from authz.config_file import load
from authz.errors import AegisError, ConfigError, IntegrityViolation
from authz.ledger import form, reader, trust, vouching
from authz.ledger.attestation import Attestations
from authz.ledger.report import plain

EXIT_NOT_VERIFIED: Final = 1
EXIT_COULD_NOT_RUN: Final = 2
# Shown first, in this order; the rest follows by name.
FIRST: Final = tuple(
    "timestamp kind decision policy_decision reason_code rule agent_id tool action method endpoint "
    "decision_id".split()
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")]
Anchors = Annotated[
    list[Path] | None,
    typer.Option(
        "--anchors", help="Checkpoints and time stamps that others outside hold: directory or file."
    ),
]
State = Annotated[Path | None, typer.Option("--state", help="The state directory; else the settings' own.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="Settings, a YAML file.")]
Start = Annotated[str, typer.Option("--from", help="Not before: RFC 3339, or a date.")]
End = Annotated[str, typer.Option("--to", help="Before: RFC 3339, or a date.")]
Ledger = Annotated[
    Path | None, typer.Option("--ledger", help="A log's directory, or a tree of them; else the state's.")
]


@contextmanager
def explained() -> Iterator[None]:
    """Turn what keeps a command from running into one line and exit status 2."""
    try:
        yield
    except IntegrityViolation as error:
        typer.echo(plain(str(error)), err=True)
        raise typer.Exit(EXIT_NOT_VERIFIED) from None
    except AegisError as error:
        typer.echo("\n".join(map(plain, str(error).splitlines())), err=True)
        raise typer.Exit(EXIT_COULD_NOT_RUN) from None
    except OSError as error:
        typer.echo(plain(f"{error.filename or 'aegis'}: {error.strerror}"), err=True)
        raise typer.Exit(EXIT_COULD_NOT_RUN) from None


@contextmanager
def to_a_reader() -> Iterator[None]:
    """Whoever reads may have seen enough and gone (`| head -1`): the exit status stays the verdict."""
    try:
        yield
    except (BrokenPipeError, SystemExit):  # rich ends the process with status 1 by itself
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # nothing may be flushed there any more


def show(
    record: Annotated[
        str,
        typer.Argument(metavar="DECISION_ID|LOG@SEQ|SEQ", help="Which record; LOG may be its last parts."),
    ],
    ledger: Annotated[Path, typer.Option(help="One log's directory, or a tree of them.")] = Path(
        "var/ledger"
    ),
    trust_file: Annotated[
        Path | None, typer.Option("--trust", help="trust.json; default: beside the ledger, if it is there.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show one record: its members, its hash and place, and whether its attestation is by a pinned key."""
    with explained():
        beside = ledger.parent / "trust.json"
        if trust_file is None and beside.exists():
            trust_file = beside
        pinned = trust.load(trust_file) if trust_file else None
        found = find(ledger, record)
        members = found.members()
        good, attested = _attested(found, members, pinned)
    with to_a_reader():
        if as_json:
            typer.echo(json.dumps(_as_object(found, members, attested), indent=1))
        else:
            _print(found, members, attested)
    raise typer.Exit(0 if good else EXIT_NOT_VERIFIED)


def find(ledger: Path, record: str) -> reader.Found:
    """The one record that is called so. Raises IntegrityViolation for none, ConfigError for several."""
    log, _, number = record.rpartition("@")
    if not number.isdecimal() or not number.isascii() or len(number) > 18:
        decided = reader.by_decision(ledger, record)
        if decided is None:
            raise IntegrityViolation(f"no decision {record}", file=str(ledger))
        return decided
    found = reader.by_seq(ledger, int(number), log)
    if not found:
        raise IntegrityViolation(f"no record {record}", file=str(ledger))
    if len(found) > 1:
        names = ", ".join(f"{item.members().get('log')}@{number}" for item in found)
        raise ConfigError(f"{record} is in {len(found)} logs: say one of {names}")
    return found[0]


def _attested(found: reader.Found, members: dict[str, Any], pinned: trust.Trust | None) -> tuple[bool, str]:
    if pinned is None:
        return True, "not checked: no trust.json was given"
    try:
        form.read(found.entry, str(members.get("log")), found.seq, None)
        vouched = vouching.of_entry(found.entry, found.file, found.seq, pinned.record_roots)
        certified = [vouched[0]] if vouched else []
        kid = Attestations(pinned.record_keys, certified).check(found.entry, members)
    except ValueError as error:
        return False, f"NOT VERIFIED: {error}"
    if kid in pinned.revoked:
        whether = "whether this is older says `aegis verify` with anchors"
        return False, f"NOT VERIFIED: by key {kid}, revoked from {pinned.revoked[kid]} on; {whether}"
    return True, f"verified: by the pinned key {kid}"


def _as_object(found: reader.Found, members: dict[str, Any], attested: str) -> dict[str, Any]:
    return {
        "entry": members,
        "entry_hash": found.entry_hash,
        "file": str(found.file),
        "line": found.line,
        "attestation": attested,
    }


def _print(found: reader.Found, members: dict[str, Any], attested: str) -> None:
    """One line a member, never broken: hashes are there to be copied."""
    names = [name for name in FIRST if name in members]
    names += [name for name in members if name not in FIRST and name != "attestation_signature"]
    rows = {name: members[name] for name in names}
    rows |= {
        "entry hash": found.entry_hash,
        "place": f"{found.file}, line {found.line}",
        "attestation": attested,
    }
    width = max(map(len, rows))
    console = Console(highlight=False)
    for name, value in rows.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        console.print(Text.assemble((f"{plain(name):<{width}}  ", "bold"), plain(text)), soft_wrap=True)


def settings_of(state: Path | None, config: Path | None) -> Settings:
    settings = load(config)
    return settings if state is None else settings.model_copy(update={"state": state})


def moment(text: str, option: str) -> str:
    """RFC 3339 in UTC with six decimals, as entries have it; what names no zone is UTC."""
    if not text:
        return ""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option}: {text}: not RFC 3339, nor a date") from None
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return found.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
