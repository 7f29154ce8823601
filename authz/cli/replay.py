"""`aegis replay`: recorded decisions put to policy again, and what comes of it.

    exit status    0 nothing came out otherwise    1 something did, or evidence is wrong    2 could not run

For investigators, on the machine that has the policy versions and the keys of disclosures. Each decision
goes to the version that it names, where it must come out the same, or with --policy to another one. Who reads
facts is recorded before anything is shown. What is stored may be hostile: nothing of it reaches the terminal
without `plain`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from msgspec import Struct, field

from authz.cli import recorded
from authz.cli.ledger import ConfigFile, End, Json, Ledger, Start, State, explained, settings_of
from authz.config import Settings
from authz.errors import ConfigError, IntegrityViolation
from authz.ledger.outbox import Outbox
from authz.ledger.report import plain
from authz.replay import access
from authz.replay import recorded as records
from authz.replay.judges import Judges
from authz.replay.recorded import WORDS, Recorded, Wanted
from authz.replay.replaying import Replayed, replay
from authz.replay.trace import Explain, trace
from authz.replay.version import Version

MAX_SHOWN = 20  # decisions shown one by one, with their facts
TITLES = {
    Explain.FIRED: "rules that fired",
    Explain.FAILS: "rules that fired, and what did not hold",
    Explain.NOTES: "notes of the policy",
    Explain.FULL: "OPA's trace",
}


class Found(Struct):
    """Of all that was replayed; `changed` came out otherwise, `first` of them by time."""

    decisions: int = 0
    same: int = 0
    changed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    first: Replayed | None = None

    def add(self, each: Replayed) -> None:
        self.decisions += 1
        if each.why is not None:
            self.left_out[str(each.why)] += 1
        elif not each.differs:
            self.same += 1
        else:
            self.changed += 1
            if self.first is None or _at(each) < _at(self.first):
                self.first = each


def replay_(
    why: recorded.Why,
    decision_id: Annotated[str, typer.Argument(metavar="[DECISION_ID]")] = "",
    trace_id: Annotated[str, typer.Option("--trace", help="All decisions of this trace.")] = "",
    session_id: Annotated[str, typer.Option("--session", help="All decisions of this session.")] = "",
    start: Start = "",
    end: End = "",
    last: recorded.Last = "",
    policy: Annotated[
        str, typer.Option(help="Put them to this version or source directory; else to their own.")
    ] = "",
    explain: Annotated[
        Explain, typer.Option(help="Of single decisions: OPA's trace, from rules that fired to all of it.")
    ] = Explain.FIRED,
    ledger: Ledger = None,
    entry: recorded.Entry = "",
    state: State = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Put recorded decisions to policy again: one, those of a trace or session, or of an interval."""
    with explained():
        settings = settings_of(state, config)
        wanted = _wanted(decision_id, trace_id, session_id, recorded.interval(start, end, last))
        path = ledger or settings.ledger_directory.parent
        entry = entry or settings.policy.entry_point
        candidate = recorded.version_of(settings, policy, entry) if policy else None
        single = bool(decision_id or trace_id or session_id)
        shown = _Showing(entry, explain, single, as_json)
        found = Found()
        with recorded.judges_of(settings, entry) as judges, Outbox(settings.outbox) as outbox:
            for each in _replayed(settings, path, wanted, candidate, judges, outbox, why):
                found.add(each)
                shown.decision(
                    each, candidate or judges.published(each.recorded.digest) if each.judged else None
                )
        if not found.decisions:
            raise IntegrityViolation("no such decision", file=str(path))
        shown.end(found)
    raise typer.Exit(1 if found.changed and candidate is None else 0)


def _wanted(decision_id: str, trace_id: str, session_id: str, interval: Wanted) -> Wanted:
    if not (decision_id or trace_id or session_id or interval != Wanted()):
        raise ConfigError("say which: DECISION_ID, --trace, --session, --from, --to or --last")
    return Wanted(interval.start, interval.end, decision_id, trace_id, session_id)


def _replayed(
    settings: Settings,
    path: Path,
    wanted: Wanted,
    candidate: Version | None,
    judges: Judges,
    outbox: Outbox,
    why: str,
) -> Iterator[Replayed]:
    """Each once its reading is said, with a progress bar."""
    found = records.decisions(path, wanted, recorded.vault_if_there(settings))
    said = access.said(found, outbox, why)
    yield from recorded.watched(replay(said, judges, candidate), records.count(path, wanted), "replaying")


class _Showing:
    """For people as they come, for programs at the end."""

    def __init__(self, entry: str, explain: Explain, single: bool, as_json: bool) -> None:
        self._entry, self._explain, self._single, self._json = entry, explain, single, as_json
        self._objects: list[dict[str, Any]] = []
        self._shown = 0

    def decision(self, each: Replayed, under: Version | None) -> None:
        if not self._single and not each.differs:
            return
        if self._shown == MAX_SHOWN:
            return
        self._shown += 1
        fired = trace(under, self._entry, each.recorded.question, self._explain) if under else None
        steps = [f"{step.place:<36} {step.text}" for step in fired.steps] if fired else []
        steps += [f"and {fired.left} more"] if fired and fired.left else []
        steps += fired.text.splitlines() if fired else []
        if self._json:
            self._objects.append(as_object(each) | {"trace": steps})
            return
        for line in describe(each):
            typer.echo(plain(line))
        if steps:
            typer.echo(f"  {TITLES[self._explain]}")
            for line in steps:
                typer.echo(f"    {plain(line)}")
        typer.echo("")

    def end(self, found: Found) -> None:
        if self._json:
            typer.echo(
                json.dumps(
                    {
                        "decisions": found.decisions,
                        "same": found.same,
                        "changed": found.changed,
                        "not_replayable": dict(found.left_out),
                        "first_divergence": as_object(found.first) if found.first else None,
                        "shown": self._objects,
                    },
                    indent=1,
                )
            )
            return
        for line in summary(found):
            typer.echo(plain(line))


def summary(found: Found) -> Iterator[str]:
    """For people, line by line."""
    decisions = "1 decision" if found.decisions == 1 else f"{found.decisions:,} decisions"
    left_out = sum(found.left_out.values())
    came = f"{found.same:,} came out the same, {found.changed:,} otherwise, {left_out:,} not replayable"
    yield f"{decisions}: {came}"
    for why, count in found.left_out.most_common():
        yield f"  not_replayable: {why}: {count:,} ({WORDS[records.Why(why)]})"
    if found.first:
        yield f"first divergence: {_at(found.first)}  decision {found.first.recorded.decision_id}"
        yield from (f"  {line}" for line in _differing(found.first))


def describe(each: Replayed) -> Iterator[str]:
    """One decision for people."""
    members = each.recorded.members
    named = (str(members.get(name, "-")) for name in ("timestamp", "agent_id", "method", "endpoint"))
    yield "  ".join(named)
    yield f"  decision   {each.recorded.decision_id}, {each.recorded.log}@{each.recorded.seq}"
    version = f"{members.get('policy_version')} {str(each.recorded.digest)[:12]}"
    yield f"  recorded   {_said(each.before)}  by {version}"
    if each.why is not None:
        yield f"  not_replayable: {each.why}: {each.detail or WORDS[each.why]}"
        return
    yield f"  replayed   {'the same' if not each.differs else _said(each.now)}  by {each.under}"
    for line in _differing(each):
        yield f"    {line}"
    yield "  asked"
    for line in json.dumps(_asked(each.recorded), indent=1, ensure_ascii=False).splitlines():
        yield f"    {line}"


def _said(outcome: Any) -> str:
    return f"{outcome.decision} {outcome.reason_code} by rule {outcome.rule or '-'}"


def _differing(each: Replayed) -> Iterator[str]:
    for difference in each.differs:
        before, now = (
            json.dumps(value, ensure_ascii=False) for value in (difference.recorded, difference.now)
        )
        yield f"{difference.member}: recorded {before}, now {now}"
    if each.judged and each.judged.fault:
        yield f"no usable answer: {each.judged.fault}"


def _asked(found: Recorded) -> Any:
    return orjson.loads(found.question)


def as_object(each: Replayed) -> dict[str, Any]:
    """One decision for programs."""
    found: dict[str, Any] = {
        "decision_id": each.recorded.decision_id,
        "log": each.recorded.log,
        "seq": each.recorded.seq,
        "timestamp": _at(each),
        "recorded": _outcome(each.before),
    }
    if each.why is not None:
        return found | {"not_replayable": str(each.why), "detail": each.detail or WORDS[each.why]}
    return found | {
        "under": each.under,
        "replayed": _outcome(each.now),
        "differs": [
            {"member": found.member, "recorded": found.recorded, "now": found.now} for found in each.differs
        ],
        "asked": _asked(each.recorded),
    }


def _outcome(outcome: Any) -> dict[str, str] | None:
    if outcome is None:
        return None
    return {"decision": outcome.decision, "reason_code": outcome.reason_code, "rule": outcome.rule}


def _at(each: Replayed) -> str:
    return str(each.recorded.members.get("timestamp", ""))
