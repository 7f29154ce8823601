"""`aegis complete`: whether no record of an interval is missing, over all logs of a deployment.

    exit status    0 complete    1 gap, missing or invalid    2 could not run    3 not established

For auditors, from the files and pinned keys alone. What is stored may be hostile: nothing of it reaches the
terminal without `plain`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from authz.cli.ledger import Json, explained
from authz.errors import ConfigError
from authz.ledger import outcomes, trust
from authz.ledger.completeness.interval import Bounds, Interval
from authz.ledger.completeness.judge import judge
from authz.ledger.completeness.report import Completeness, Covered, Verdict
from authz.ledger.report import plain

EXIT: Final[dict[Verdict, int]] = {
    "complete": 0,
    "gap": 1,
    "missing": 1,
    "invalid": 1,
    "not_established": 3,
}
_DEFAULT: Final = Bounds()


def complete(
    path: Annotated[Path, typer.Argument(help="The deployment's logs, its control log among them.")] = Path(
        "var/ledger"
    ),
    trust_file: Annotated[
        Path | None, typer.Option("--trust", help="trust.json; default: beside the ledger.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="RFC 3339 with a zone; default: the first report of a log.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="The same; default: what the last heads of all logs cover.")
    ] = None,
    level: Annotated[int, typer.Option(min=2, max=3, help="As of `aegis verify`.")] = 3,
    heads: Annotated[
        float, typer.Option(min=1, help="Seconds that two heads of a log may be apart.")
    ] = _DEFAULT.heads_s,
    silence: Annotated[
        float, typer.Option(min=1, help="Seconds that a living log may be without an entry.")
    ] = _DEFAULT.silence_s,
    after: Annotated[
        float, typer.Option(min=0, max=86400, help="Seconds after which a decision has its outcome.")
    ] = _DEFAULT.after_s,
    as_json: Json = False,
) -> None:
    """Say whether no record is missing: 0 complete, 1 gap, missing or invalid, 3 not established."""
    with explained():
        found = judge(
            path,
            trust.load(trust_file or path.parent / "trust.json"),
            _interval(start, end),
            Bounds(heads, silence, after),
            level=level,
            processes=len(os.sched_getaffinity(0)),
        )
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found), indent=1))
    else:
        for line in describe(found):
            typer.echo(plain(line))
    raise typer.Exit(EXIT[found.verdict])


def _interval(start: str | None, end: str | None) -> Interval | None:
    """Raises ConfigError."""
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise ConfigError("--from and --to: both, or none of them")
    interval = Interval(_timestamp(start, "--from"), _timestamp(end, "--to"))
    if interval.start > interval.end:
        raise ConfigError("--from is after --to")
    return interval


def _timestamp(text: str, option: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option}: {text!r} is not a time in RFC 3339") from None
    if moment.tzinfo is None:
        raise ConfigError(f"{option}: {text!r} has no time zone; add Z for UTC")
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def describe(found: Completeness) -> Iterator[str]:
    """For people, line by line."""
    yield f"{found.verdict.upper().replace('_', ' ')}  from {found.start} to {found.end}"
    for finding in found.findings:
        yield f"  {finding.verdict}: {finding.log}{': ' if finding.log else ''}{finding.what}"
    if found.finding_count > len(found.findings):
        yield f"  and {found.finding_count - len(found.findings):,} more"
    yield ""
    for log in found.logs:
        yield from _log(log)
    yield ""
    yield from outcomes.describe(found.requests)
    yield ""
    yield "not checked"
    yield from (f"  {line}" for line in found.not_checked)


def _log(log: Covered) -> Iterator[str]:
    yield log.log
    ended = f"to {log.ended}" if log.ended else "still written"
    yield f"  {log.entries:,} entries in the interval; from {log.first} {ended}"
    yield f"  {log.heads:,} reports of it, at most {log.longest_s:.1f} s apart"
    if log.refusals:
        yield f"  {log.refusals:,} requests were refused without a record, as its heartbeats say"
    if log.clock_unsynchronized:
        yield f"  clock not synchronized, say {log.clock_unsynchronized:,} of {log.heartbeats:,} heartbeats"
