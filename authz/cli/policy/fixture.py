"""`aegis policy fixture`: a recorded decision as a test of the policy.

    exit status    0 made    1 evidence is wrong, or no such record    2 it cannot be made, with the reason

For policy authors, where the ledger and the keys of its disclosures are. Who reads the facts is recorded
before anything of them is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from authz.cli import recorded
from authz.cli.ledger import ConfigFile, Ledger, State, explained, settings_of
from authz.errors import ConfigError, IntegrityViolation
from authz.ledger.outbox import Outbox
from authz.ledger.report import plain
from authz.replay import access
from authz.replay.fixture import Fixture, check_id
from authz.replay.fixture import fixture as made_of
from authz.replay.recorded import Wanted, decisions
from authz.replay.replaying import replay


def fixture(
    decision_id: Annotated[str, typer.Argument(metavar="DECISION_ID")],
    why: recorded.Why,
    out: Annotated[
        Path, typer.Option("--out", help="The directory for both files, below the policy's source.")
    ] = Path("rego/recorded"),
    ledger: Ledger = None,
    entry: recorded.Entry = "",
    state: State = None,
    config: ConfigFile = None,
) -> None:
    """Make a Rego test, and its input as JSON, of a recorded decision and the facts disclosed with it."""
    with explained():
        check_id(decision_id)
        settings = settings_of(state, config)
        path, entry = ledger or settings.ledger_directory.parent, entry or settings.policy.entry_point
        if settings.policy.compat:
            raise ConfigError("policy.compat: a result of opa-envoy-plugin's form is not tested for here")
        found = decisions(path, Wanted(decision_id=decision_id), recorded.vault_if_there(settings))
        with recorded.judges_of(settings, entry) as judges, Outbox(settings.outbox) as outbox:
            replayed = next(replay(access.said(found, outbox, why), judges), None)
        if replayed is None:
            raise IntegrityViolation(f"no decision {decision_id}", file=str(path))
        for file in _write(made_of(replayed, entry), out):
            typer.echo(plain(str(file)))
        typer.echo(
            "they hold facts of a request: what is erased in the ledger has to be erased here, too", err=True
        )


def _write(made: Fixture, out: Path) -> list[Path]:
    """Both files, or neither. Raises ConfigError where one of them is already there, OSError."""
    files = {out / f"{made.name}_test.rego": made.test, out / f"{made.name}.input.json": made.asked}
    for file in files:
        if file.exists():
            raise ConfigError(f"{file}: already there; it stays as it is")
    out.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        file.write_text(text)
    return list(files)
