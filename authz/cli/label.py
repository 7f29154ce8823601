"""`aegis label`: a reviewer says whether a decision stopped, or would have stopped, what it should.

    exit status    0 done    1 no such decision    2 could not run

For whoever reviews what is in shadow before it is enforced. The label is in the outbox, durable, when the
command returns, and becomes an entry of the control log; a later one by the same reviewer takes its place.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from authz import who
from authz.cli.ledger import ConfigFile, Ledger, State, explained, settings_of
from authz.errors import ConfigError, IntegrityViolation
from authz.ledger import labels, reader
from authz.ledger.outbox import Outbox
from authz.ledger.report import plain
from authz.values import Decision


class Label(StrEnum):
    """As it is typed; entries have underscores."""

    TRUE_POSITIVE = "true-positive"
    FALSE_POSITIVE = "false-positive"


def label(
    decision_id: Annotated[str, typer.Argument(metavar="DECISION_ID")],
    said: Annotated[
        Label, typer.Argument(metavar="true-positive|false-positive", help="Rightly blocked, or wrongly.")
    ],
    why: Annotated[str, typer.Option("--why", help="The reason; it goes into the entry.")],
    state: State = None,
    config: ConfigFile = None,
    ledger: Ledger = None,
) -> None:
    """Say that a decision was right to block (or would have been), or wrong. Who says it is recorded."""
    with explained():
        settings = settings_of(state, config)
        place = ledger or settings.ledger_directory.parent
        found = reader.by_decision(place, decision_id)
        if found is None:
            raise IntegrityViolation(f"no decision {decision_id}", file=str(place))
        event = _event(found, decision_id, said, why)
        with Outbox(settings.outbox) as outbox:
            try:
                outbox.put(labels.KIND, event)
            except ValueError as error:
                raise ConfigError(str(error)) from None
    typer.echo(plain(f"{said}: decision {decision_id}, by {event['who']}"))


def _event(found: reader.Found, decision_id: str, said: Label, why: str) -> dict[str, Any]:
    """Raises ConfigError for a decision that blocks nothing."""
    entry = found.members()
    if entry.get("decision") == Decision.ALLOW:
        raise ConfigError(f"decision {decision_id} is an allow: it blocks nothing that it should not")
    return {
        "who": who.runs_this(),
        "why": why,
        "decision_id": decision_id,
        "of": entry["log"],
        "at_seq": entry["seq"],
        "label": said.replace("-", "_"),
    }
