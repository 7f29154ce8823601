"""What `aegis up` prints: the table of attempts, the proof, how to go on. Nothing here decides anything."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from authz.up.deployment import Deployment
from authz.up.policies import Published, next_name
from authz.up.processes import Processes
from authz.up.proof import Verification
from authz.up.traffic import EHR, PAYMENTS, Outcome

_WIDTH: Final = 140  # of a table where the terminal's own is not known
_STYLES: Final = {"allow": "green", "deny": "red", "approval_needed": "yellow", "would_block": "magenta"}


def console() -> Console:
    shown = Console(highlight=False)
    return shown if shown.is_terminal else Console(highlight=False, width=_WIDTH, color_system=None)


def table(outcomes: Sequence[Outcome]) -> Table:
    """One row an attempt: who tried what, what was decided and why, where the record is."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("what was tried", "decision", "reason and rule"):
        shown.add_column(name, overflow="fold")
    for name in ("cache", "HTTP", "ms", "record"):
        shown.add_column(name, justify="right", no_wrap=True)
    for outcome in outcomes:
        shown.add_row(*_cells(outcome))
    return shown


def _cells(outcome: Outcome) -> list[str]:
    attempt, record = outcome.attempt, outcome.record
    decision = record.get("decision", "?")
    request = f"{attempt.method} {attempt.url.removeprefix('http://')}"
    return [
        f"{attempt.agent} {attempt.tries}\n[dim]{escape(request)}[/]",
        f"[{_STYLES.get(decision, 'red')}]{decision}[/]",
        f"{record.get('reason_code', '?')}\n[dim]{escape(record.get('rule', '?'))}[/]",
        record.get("cache", "?"),
        str(outcome.status),
        f"{outcome.ms:.1f}",
        place(record),
    ]


def faults(outcomes: Sequence[Outcome]) -> str:
    """What was not as expected, a line each."""
    return escape(
        "\n".join(
            f"NOT AS EXPECTED: {outcome.attempt.agent} {outcome.attempt.tries}: {fault}"
            for outcome in outcomes
            for fault in outcome.faults
        )
    )


def place(record: dict[str, Any]) -> str:
    """Where a record is: the end of its log's name, and its number there."""
    if not record:
        return "none"
    return f"…{record['log'][-4:]} #{record['seq']}"


def verified(result: Verification) -> str:
    """What was verified, and what was not checked."""
    logs = result.report.get("logs", ())  # of one worker after the other, the oldest first
    newest = {log["log"].rpartition("/")[0]: log for log in logs}
    lines = [f"  {log['log']}: {log['entries']} entries, {log['sealed']} sealed" for log in newest.values()]
    if older := [log for log in logs if log not in newest.values()]:
        total = sum(log["entries"] for log in older)
        lines.append(f"  earlier logs, each continued by the next: {len(older)}, with {total} entries")
    if repeated := result.report.get("repeated"):
        left_out = ", ".join(f"{count} {why}" for why, count in repeated["not_replayable"].items())
        lines.append(
            f"  decisions: {repeated['same']} came out the same; not replayable: {left_out or 'none'}"
        )
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


def policy(published: Published, source: Path, deployment: Deployment) -> str:
    """Which version decides, and whether it is what the source says."""
    version, _, digest = published.revision.partition("+")
    if not published.edited:
        return f"policy    {version}, {digest[:16]}…, signed, from {short(source)}"
    build = _build(source, deployment)
    return (
        f"policy    {version}, {digest[:16]}…, signed, as it was activated\n"
        f"          {short(source)} says something else, which is not published: {build}"
    )


def _build(source: Path, deployment: Deployment) -> str:
    aegis, state = short(Path(sys.executable).with_name("aegis")), short(deployment.settings.state)
    name = next_name(deployment.versions)
    return f'{aegis} policy publish {short(source)} --version {name} --why "..." --state {state}'


def processes(running: Processes) -> str:
    """The process ids, as they are after the samples."""
    return "processes " + ", ".join(f"{name} {running.pid(name)}" for name in running.names()) + "\n"


def how_to_go_on(deployment: Deployment, header: Path, policy: Path) -> str:
    """Commands that work as they stand, from the directory in which `aegis up` runs."""
    proxy, state = deployment.proxy, deployment.settings.state
    here = {name: short(path) for name, path in {"header": header, "state": state}.items()}
    aegis = short(Path(sys.executable).with_name("aegis"))
    return escape(
        f"""\
Running. Send requests of your own as clinical-agent (the token is renewed while this runs):

  curl -i -x {proxy} -H @{here["header"]} {EHR}/patients/42/records
  curl -i -x {proxy} -H @{here["header"]} {PAYMENTS}/charges -d amount_cents=1

Read and verify what was recorded:

  {aegis} verify {here["state"]}/ledger --trust {here["state"]}/trust.json
  {aegis} tail -f {here["state"]}/ledger
  tail -n 1 {here["state"]}/ledger/worker-0/*/entries/*.jsonl

Change the policy while it runs:

  {_build(policy, deployment)}
  {aegis} policy activate {next_name(deployment.versions)} --state {here["state"]}

Ctrl-C ends everything."""
    )


def short(path: Path) -> str:
    """`path` from here, where it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
