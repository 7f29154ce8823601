"""`aegis explain`: why a decision came out as it did, in plain words, and whether what explains it agrees.

    exit status    0 it agrees    3 something disagrees    1 no such decision, or evidence is wrong
                   2 could not run

For investigators and regulators. It says what record, facts, policy version and outcome say, nothing else.
Without a decision it goes through an interval and counts disagreements. Who reads facts is recorded before
anything is shown; what is stored may be hostile: nothing of it reaches the terminal without `plain`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Final

import typer
from msgspec import Struct, field, to_builtins

from authz import canonical
from authz.cli import recorded
from authz.cli.ledger import ConfigFile, End, Json, Ledger, Start, State, explained, settings_of
from authz.errors import ConfigError, IntegrityViolation
from authz.ledger import reader
from authz.ledger.outbox import Outbox
from authz.ledger.report import plain
from authz.replay import access
from authz.replay import recorded as records
from authz.replay.account import account
from authz.replay.agreement import disagreements
from authz.replay.judges import Judges
from authz.replay.recorded import Recorded, Wanted
from authz.replay.replaying import Replayed, replay
from authz.replay.trace import trace
from authz.replay.version import Altered, Version

DISAGREES: Final = 3
EXAMPLES: Final = 3


class Counted(Struct):
    """Of an interval: disagreements by what they are about, with ids of decisions as examples."""

    decisions: int = 0
    disagreeing: int = 0
    about: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)


def explain(
    why: recorded.Why,
    decision_id: Annotated[str, typer.Argument(metavar="[DECISION_ID]")] = "",
    start: Start = "",
    end: End = "",
    last: recorded.Last = "",
    ledger: Ledger = None,
    entry: recorded.Entry = "",
    state: State = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Explain one decision in plain words; or count, over an interval, where explanations disagree."""
    with explained():
        settings = settings_of(state, config)
        path = ledger or settings.ledger_directory.parent
        interval = recorded.interval(start, end, last)
        if bool(decision_id) == (interval != Wanted()):
            raise ConfigError("say a DECISION_ID, or an interval by --from, --to or --last")
        wanted = Wanted(interval.start, interval.end, decision_id)
        entry = entry or settings.policy.entry_point
        found = records.decisions(path, wanted, recorded.vault_if_there(settings))
        with recorded.judges_of(settings, entry) as judges, Outbox(settings.outbox) as outbox:
            said = access.said(found, outbox, why)
            if decision_id:
                disagrees = _one(said, judges, as_json, str(path), decision_id)
            else:
                disagrees = _many(said, judges, as_json, records.count(path, wanted))
    raise typer.Exit(DISAGREES if disagrees else 0)


def _one(said: Iterable[Recorded], judges: Judges, as_json: bool, path: str, decision_id: str) -> bool:
    """Whether something disagrees. Raises IntegrityViolation for a decision that is not there."""
    each = next(replay(said, judges), None)
    if each is None:
        raise IntegrityViolation(f"no decision {decision_id}", file=path)
    version, outcome = _version(each, judges), _outcome(each.recorded)
    found = disagreements(each, version, outcome)
    fired = (
        trace(version, judges.entry_point, each.recorded.question).steps if each.judged and version else ()
    )
    sections = account(each, version, outcome, fired, found)
    if as_json:
        shown: dict[str, Any] = {section.title: section.lines for section in sections}
        typer.echo(json.dumps({"sections": shown, "disagreements": to_builtins(found)}, indent=1))
        return bool(found)
    for section in sections:
        typer.echo(plain(section.title))
        for line in section.lines:
            typer.echo(f"  {plain(line)}")
    return bool(found)


def _many(said: Iterable[Recorded], judges: Judges, as_json: bool, total: int) -> bool:
    """Counts over an interval; outcomes are not looked for: that is `aegis outcomes`."""
    counted = Counted()
    for each in recorded.watched(replay(said, judges), total, "explaining"):
        counted.decisions += 1
        found = {disagreement.about for disagreement in disagreements(each, _version(each, judges))}
        counted.disagreeing += bool(found)
        for about in found:
            counted.about[about] += 1
            examples = counted.examples.setdefault(about, [])
            if len(examples) < EXAMPLES:
                examples.append(each.recorded.decision_id)
    if as_json:
        typer.echo(json.dumps(to_builtins(counted), indent=1))
        return bool(counted.disagreeing)
    typer.echo(
        f"{counted.decisions:,} decisions, {counted.disagreeing:,} of them disagree with their explanation"
    )
    for about, count in counted.about.most_common():
        typer.echo(plain(f"  {about}: {count:,}, for example {', '.join(counted.examples[about])}"))
    return bool(counted.disagreeing)


def _version(each: Replayed, judges: Judges) -> Version | None:
    try:
        return judges.published(each.recorded.digest)
    except Altered:  # said by `not_replayable`
        return None


def _outcome(found: Recorded) -> dict[str, Any] | None:
    """What the gateway said became of it, in the same log."""
    member = b'"decision_id":' + canonical.encode(found.decision_id)
    for entry in reader.entries(found.file.parent.parent, found.seq + 1):
        if member in entry.entry and b'"kind":"outcome"' in entry.entry:
            members = entry.members()
            if members.get("kind") == "outcome" and members.get("decision_id") == found.decision_id:
                return members
    return None
