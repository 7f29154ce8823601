"""`aegis keys ...`: make, list, rotate, revoke and pin the keys of the ledger.

For operators, as the user that the workers run as. Exit status 0 done, 2 could not run. A running worker or
follower takes up what is changed here within a second or two. Each change is an event of the control log.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from authz import who
from authz.cli.ledger import ConfigFile, State, explained, settings_of
from authz.config import Settings
from authz.custody import renew, rotation
from authz.custody import root as root_file
from authz.custody.rotation import Certify, Change
from authz.errors import ConfigError
from authz.followers.anchors.pinned import tsa_roots_of, witnesses_of
from authz.ledger import certificates, notes, trust
from authz.ledger import keys as key_files
from authz.ledger.clock import Stamp
from authz.ledger.keyring import Keyring, Listed
from authz.ledger.outbox import Outbox
from authz.ledger.report import plain

OVERLAP_DAYS: Final = 30.0  # time for verifiers to get the new key
DAY_NS: Final = 86_400_000_000_000

app = typer.Typer(no_args_is_help=True, help="Keys of the ledger: make, list, rotate, revoke, pin them.")


class Purpose(StrEnum):
    RECORD = "record"
    LOG = "log"


Which = Annotated[Purpose, typer.Argument(help="record: attests entries; log: signs checkpoints.")]
Why = Annotated[str, typer.Option(help="The reason, for the control log.")]


@app.command()
def generate(state: State = None, config: ConfigFile = None) -> None:
    """Make the record key, the log key, the source key and, where disclosures are kept, the key that wraps
    theirs (mode 0600), as far as they are missing.
    """
    with explained():
        settings = settings_of(state, config)
        with _change(settings, "") as change:
            for purpose, ring in rings(settings).items():
                made = rotation.generate(ring, purpose.value, change, _certify(purpose, settings))
                typer.echo(f"{ring.path}: {'made' if made else 'kept'}")
        for name in [settings.identity.source_key] + [settings.disclosures.key] * settings.disclosures.wanted:
            file = settings.path(name)
            there = file.exists()
            key_files.ensure(file)
            typer.echo(f"{file}: {'kept' if there else 'made'}")


@app.command()
def rotate(
    which: Which,
    why: Why = "",
    overlap_days: Annotated[
        float, typer.Option(min=0, help="How long the old log key signs checkpoints beside the new one.")
    ] = OVERLAP_DAYS,
    state: State = None,
    config: ConfigFile = None,
) -> None:
    """Put a new key into use. Workers hand over to it within a second or two, without a restart.

    Killed half-way, it is to be run again. Verifiers need a new trust file.
    """
    with explained():
        settings = settings_of(state, config)
        overlap = ""
        if which is Purpose.LOG and overlap_days:
            overlap = Stamp(lambda: time.time_ns() + int(overlap_days * DAY_NS)).now()
        with _change(settings, why) as change:
            certify = _certify(which, settings)
            new = rotation.rotate(rings(settings)[which], which.value, change, overlap, certify)
        typer.echo(f"{which} key {new.kid} is in use now")
        if overlap:
            typer.echo(f"the key before it signs checkpoints, too, until {overlap}")
        typer.echo("give verifiers a new trust file: aegis keys export-trust")


@app.command()
def root(state: State = None, config: ConfigFile = None) -> None:
    """Make the root key in the token of the section `root`, and its certificate, where they are missing.

    From then on `generate`, `rotate` and the follower have it certify record keys, and verifiers pin it.
    """
    with explained():
        from authz.custody import token  # here, so that nothing else loads PKCS#11

        settings = settings_of(state, config)
        certificate, made = token.make_root(settings, datetime.now(UTC))
        typer.echo(f"{settings.path(settings.root.certificate)}: {'made' if made else 'kept'}")
        typer.echo(f"root key {certificates.thumbprint(certificate)}")


def _certify(which: Purpose, settings: Settings) -> Certify | None:
    return renew.certifier(settings) if which is Purpose.RECORD else None


@app.command(context_settings={"ignore_unknown_options": True})  # one key's id in 64 begins with a dash
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As `aegis keys list` has it.")],
    why: Annotated[str, typer.Option(help="The reason, for the control log.")],
    at: Annotated[
        str, typer.Option(help="Since when others may have had it: RFC 3339 in UTC; by default now.")
    ] = "",
    state: State = None,
    config: ConfigFile = None,
) -> None:
    """Revoke a key that is not in use any more: what it signed is believed only where an outside anchor
    dates it before that time, whatever an entry says of its own. Verifiers need a new trust file.
    """
    with explained():
        settings = settings_of(state, config)
        moment = _moment(at) if at else Stamp(time.time_ns).now()
        having = [(what, ring) for what, ring in rings(settings).items() if _has(ring, key_id)]
        if not having:
            raise ConfigError(f"{key_id}: no such key; `aegis keys list` prints them")
        with _change(settings, why) as change:
            for which, ring in having:
                rotation.revoke(ring, which.value, key_id, moment, change)
        typer.echo(f"{having[0][0]} key {key_id} is revoked from {moment} on")
        typer.echo("give verifiers a new trust file: aegis keys export-trust")


def _has(ring: Keyring, key_id: str) -> bool:
    return any(key.kid == key_id for key in ring.listed())


def _moment(text: str) -> str:
    """RFC 3339 with six decimals. Raises ConfigError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--at: {error}") from None
    if moment.utcoffset() != timedelta(0):
        raise ConfigError(f"--at: {text}: not in UTC; end it with `Z`")
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@app.command("list")
def list_keys(state: State = None, config: ConfigFile = None) -> None:
    """Print every key there ever was, oldest first: purpose, thumbprint, since when, what became of it."""
    with explained():
        for purpose, ring in rings(settings_of(state, config)).items():
            in_use = ring.in_use().public
            for key in ring.listed():
                since = key.since or "before there was a list"
                typer.echo(plain(f"{purpose:<6}  {key.kid}  {since:<27}  {_became(key, in_use)}"))


def _became(key: Listed, in_use: bytes) -> str:
    if key.revoked:
        return f"revoked from {key.revoked.at} on: {key.revoked.why}"
    return "in use" if key.public == in_use else "retired"


@app.command("export-trust")
def export_trust(state: State = None, config: ConfigFile = None) -> None:
    """Print trust.json, what verifiers pin: public keys, and of the anchors that are set the witnesses with
    their quorum and who vouches for the time-stamping authority.
    """
    with explained():
        settings = settings_of(state, config)
        record, log = map(_pinned, rings(settings).values())
        if set(record) & set(log):
            file = settings.path(settings.ledger.log_key)
            raise ConfigError(f"{file}: the record key again; never share them")
        revoked = {
            key.kid: key.revoked.at
            for ring in rings(settings).values()
            for key in ring.listed()
            if key.revoked
        }
        roots = [root_file.read(settings)] if settings.root.module else []
        data = trust.export(
            dict.fromkeys(settings.origins, log),
            record,
            revoked=revoked,
            witnesses=witnesses_of(settings),
            tsa_roots=tsa_roots_of(settings),
            record_roots=roots,
        )
        typer.echo(data.decode(), nl=False)


def _pinned(ring: Keyring) -> list[bytes]:
    """Every key there ever was, but for those that a pinned root vouches for."""
    ring.in_use()  # without it the file would be of no use
    return [key.public for key in ring.listed() if not key.certificate]


@app.command()
def vkey(
    origin: Annotated[str, typer.Argument(help="A log's name, DEPLOYMENT/WORKER/EPOCH.")],
    trust_file: Annotated[Path, typer.Option("--trust", help="The pinned public keys, trust.json.")] = Path(
        "var/trust.json"
    ),
) -> None:
    """Print the verifier keys (C2SP signed-note) of a log's checkpoints, one a line, for others' tools."""
    with explained():
        publics = trust.load(trust_file).log_keys_of(origin)
        if not publics or not notes.is_name(origin):
            raise ConfigError(f"{trust_file}: no key is pinned for {origin}")
        for public in publics:
            typer.echo(key_files.vkey(origin, public))


def rings(settings: Settings) -> dict[Purpose, Keyring]:
    """The files of each key, by what it is for."""
    return {
        Purpose.RECORD: Keyring(settings.path(settings.ledger.record_key)),
        Purpose.LOG: Keyring(settings.path(settings.ledger.log_key)),
    }


@contextmanager
def _change(settings: Settings, why: str) -> Iterator[Change]:
    """A change by whoever runs the command, told to the control log."""
    settings.outbox.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with Outbox(settings.outbox) as outbox:
        yield Change(who.runs_this(), Stamp(time.time_ns).now(), why, outbox.put)
