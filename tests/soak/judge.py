"""What a soak must have left behind, and the figures that say so.

In: the deployment after the load, what agents were told, the collector's file. Out: figures, and what is
wrong. The ledger itself is verified where the deployment ends (tests/e2e/stack.py).
"""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from authz.up import records
from authz.up.deployment import program
from tests.e2e.stack import Stack
from tests.soak import arrived
from tests.soak.load import Seen

GROWTH = 1.05  # most that worker or follower may grow in the last quarter of the run
AROUND = timedelta(seconds=5)  # of a worker's absence: Envoy's stream to it breaks and is made anew


def judge(stack: Stack, seen: Seen, received: Path) -> tuple[dict[str, Any], list[str]]:
    """Once everything that was recorded is exported."""
    allowed, when, ended = _written(stack.ledger)
    there = arrived.compare(stack.ledger, received)
    joined = _outcomes(stack.ledger)
    memory = _memory(seen)
    silent = {name: when[name] for name in when.keys() - ended}
    stray = [name for name, at in silent.items() if not _around(at, seen.away)]
    missing = seen.told.keys() - allowed.keys()
    wrong = [name for name in seen.told.keys() - missing if seen.told[name] and not allowed[name]]
    faults = {
        "answers without a record": len(missing),
        "requests that went out against their record": len(wrong),
        "requests that went out and named no record": seen.unnamed,
        "requests forwarded without a recorded allow (aegis outcomes)": joined["breaches"],
        "decisions without an outcome though the worker was there": len(stray),
        "decisions that did not arrive": len(allowed.keys() ^ there.decisions),
        "outcomes that did not arrive": len(ended ^ there.outcomes),
    }
    figures = {
        "answers": seen.statuses.total(),
        "by_status": dict(seen.statuses),
        "mcp_calls": dict(seen.mcp),
        "answers_that_named_a_record": len(seen.told),
        "decisions": len(allowed),
        "epochs": len(records.epochs(stack.ledger)),
        "collector": {
            "entries": there.entries,
            "sent_again": there.again,
            "decisions": len(there.decisions),
            "outcomes": len(there.outcomes),
        },
        "outcomes_lost_with_the_stream": {
            "allowed": joined["missing_allowed"],
            "denied": joined["missing_denied"],
            "told_by_heartbeats": joined["lost"],
            "decisions_joined_by_request_id": joined["by_request_id"],
            "recorded_twice": joined["duplicates"] + joined["repeated"],
            "seconds_from_a_kill_at_most": _farthest(silent.values(), seen.away),
        },
        "kills": dict(seen.kills),
        "restart_s_median_and_longest": {
            name: [round(median(took), 1), round(max(took), 1)] for name, took in seen.restarts_s.items()
        },
        "memory_mb_at_half_three_quarters_and_end": memory,
        "client_ms": _percentiles(seen.latencies),
    }
    grown = [
        f"{name} grew from {later} to {end} MB in the last quarter"
        for name, (_, later, end) in memory.items()
        if name in ("worker", "follower") and end > GROWTH * later
    ]
    return figures, [f"{count} {what}" for what, count in faults.items() if count] + there.faults + grown


def _written(ledger: Path) -> tuple[dict[str, bool], dict[str, datetime], set[str]]:
    """By decision id: whether it is an allow, and when it was recorded; and the ids that have an outcome."""
    allowed: dict[str, bool] = {}
    when: dict[str, datetime] = {}
    ended: set[str] = set()
    for epoch in records.epochs(ledger):
        for entry in records.entries(epoch):
            if entry["kind"] == "decision":
                allowed[entry["decision_id"]] = entry["decision"] == "allow"
                when[entry["decision_id"]] = datetime.fromisoformat(entry["timestamp"])
            elif entry["kind"] == "outcome" and "decision_id" in entry:
                ended.add(entry["decision_id"])
    return allowed, when, ended


def _outcomes(ledger: Path) -> dict[str, Any]:
    """What `aegis outcomes` says when nothing more will come."""
    command = [str(program("aegis")), "outcomes", str(ledger), "--after", "0", "--json"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=600)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _around(at: datetime, away: list[tuple[datetime, datetime]]) -> bool:
    return any(killed - AROUND <= at <= ready + AROUND for killed, ready in away)


def _farthest(moments: Any, away: list[tuple[datetime, datetime]]) -> float:
    """Of the decisions without outcome, the largest distance to an absence of the worker."""
    apart = [
        min(max((killed - at).total_seconds(), (at - ready).total_seconds(), 0.0) for killed, ready in away)
        for at in moments
        if away
    ]
    return round(max(apart, default=0.0), 2)


def _memory(seen: Seen) -> dict[str, list[float]]:
    """MB of each process, a mean over a fifteenth of the quiet half, at its beginning, its middle and its
    end.
    """
    looked, width = seen.memory, max(1, len(seen.memory) // 15)
    middle = (len(looked) - width) // 2
    parts = (looked[:width], looked[middle : middle + width], looked[-width:])
    return {
        name: [round(sum(at[name] for at in part) / len(part), 1) for part in parts] for name in looked[0]
    }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {f"p{rank}": round(ordered[len(ordered) * rank // 100] * 1000, 1) for rank in (50, 99)}
