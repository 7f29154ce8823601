"""What `aegis up` prints: the table of attempts, the proof, how to go on. Nothing here decides anything."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from authz.up.proof import Verification
from authz.up.traffic import EHR, PAYMENTS, Outcome

_WIDTH: Final = 150  # of a table where the terminal's own is not known
_STYLES: Final = {"allow": "green", "deny": "red", "approval_needed": "yellow"}


def console() -> Console:
    shown = Console(highlight=False)
    return shown if shown.is_terminal else Console(highlight=False, width=_WIDTH, color_system=None)


def table(outcomes: Sequence[Outcome]) -> Table:
    """One row an attempt. A record's place is the epoch's last eight digits and the entry's number."""
    shown = Table(title="What the agents tried", title_justify="left", pad_edge=False)
    for name in ("agent", "tries", "request", "decision", "reason", "rule", "cache"):
        shown.add_column(name, overflow="fold")
    for name in ("HTTP", "ms", "record"):
        shown.add_column(name, justify="right", no_wrap=True)
    for outcome in outcomes:
        shown.add_row(*_cells(outcome))
        for fault in outcome.faults:
            shown.add_row("", f"[bold red]NOT AS EXPECTED: {escape(fault)}[/]")
    return shown


def _cells(outcome: Outcome) -> list[str]:
    attempt, record = outcome.attempt, outcome.record
    decision = record.get("decision", "?")
    return [
        attempt.agent,
        attempt.tries,
        escape(f"{attempt.method} {attempt.url.removeprefix('http://')}"),
        f"[{_STYLES.get(decision, 'red')}]{decision}[/]",
        record.get("reason_code", "?"),
        escape(record.get("rule", "?")),
        record.get("cache", "?"),
        str(outcome.status),
        f"{outcome.ms:.1f}",
        place(record),
    ]


def place(record: dict[str, Any]) -> str:
    """Where a record is, short: `...89abcdef #12`."""
    return f"…{record['log'][-8:]} #{record['seq']}" if record else "none"


def verified(result: Verification) -> str:
    """One line per log, and what was not checked."""
    lines = []
    for log in result.report.get("logs", ()):
        state = "closed" if log["closed"] else "open"
        lines.append(f"  {log['log']}: {log['entries']} entries, {log['sealed']} sealed, {state}")
    lines += [f"  not checked: {what}" for what in result.report.get("not_checked", ())]
    if result.report.get("exposure"):
        lines.append(f"  exposure: {result.report['exposure']}")
    return escape("\n".join(lines))


def fault(result: Verification) -> str:
    """Where the verifier found the first fault."""
    found = result.report.get("first_fault") or {}
    file = Path(found.get("file", "?")).name
    return escape(
        f"{file}, line {found.get('line')}, seq {found.get('seq')}: {found.get('what', result.said)}"
    )


def how_to_go_on(proxy: str, header: Path, policy: Path, state: Path) -> str:
    """Commands that work as they stand, from the directory in which `aegis up` runs."""
    here = {name: short(path) for name, path in {"header": header, "policy": policy, "state": state}.items()}
    aegis = short(Path(os.environ.get("VIRTUAL_ENV", ".venv")) / "bin/aegis")
    return escape(
        f"""\
Running. Send requests of your own as clinical-agent (the token is renewed while this runs):

  curl -i -x {proxy} -H @{here["header"]} {EHR}/patients/42/records
  curl -i -x {proxy} -H @{here["header"]} {PAYMENTS}/charges -d amount_cents=1

Read and verify what was recorded:

  {aegis} verify {here["state"]}/ledger --trust {here["state"]}/trust.json
  tail -n 1 {here["state"]}/ledger/worker-0/*/entries/*.jsonl

Change the policy while it runs:

  {aegis} policy build {here["policy"]} --version v1.4.0 --state {here["state"]}
  {aegis} policy activate v1.4.0 --state {here["state"]}

Ctrl-C ends everything."""
    )


def short(path: Path) -> str:
    """`path` from here, where it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
