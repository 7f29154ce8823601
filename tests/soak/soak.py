"""A long mixed load through Envoy while OPA, follower and worker are killed at random; then a quiet half.

    python -m tests.soak.soak --minutes 30 [--seed 7] [--out FILE.json]

For the first half somebody is killed with SIGKILL every few seconds and started again; the second half is
left alone, so that memory can be compared between its beginning and its end. At the end every answer that
named a record must have it with the same verdict, and the ledger must verify on every level. Prints figures;
exit status 1 when one of that is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from authz.up import records
from authz.up.traffic import DECISION_ID, Attempt, sample
from tests.e2e.stack import Stack, running

AGENTS = 6
PAUSE_S = 0.02  # between the requests of one agent: a steady load, not a flood
KILL_EVERY_S = (5.0, 20.0)
LOOK_EVERY_S = 15.0
TOKEN_LIFE_S = 1800
VICTIMS = ("opa", "follower", "worker")
GROWTH = 1.25  # most that a process may have grown over the quiet half


@dataclass
class Seen:
    """What agents were told, and what was done to the deployment."""

    told: dict[str, bool] = field(default_factory=dict)  # decision id -> whether the upstream was reached
    statuses: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)  # seconds, of the quiet half
    kills: Counter[str] = field(default_factory=Counter)
    memory: list[dict[str, float]] = field(default_factory=list)  # MB by process, through the quiet half
    quiet: bool = False


async def agent(stack: Stack, seen: Seen, number: int, ends: float) -> None:
    """Plays the sample traffic again and again; every second request is one that nobody has asked before."""
    async with httpx.AsyncClient(proxy=stack.deployment.proxy, trust_env=False, timeout=15) as client:
        fresh: list[Attempt] = []
        renewed = 0.0
        for turn in itertools.count():
            if time.monotonic() > ends:
                return
            if time.monotonic() - renewed > TOKEN_LIFE_S:
                fresh, renewed = sample(stack.issuer), time.monotonic()
            attempt = fresh[turn % len(fresh)]
            url = attempt.url.replace("/17/", f"/{number}-{turn}/") if turn % 2 else attempt.url
            await _send(client, attempt, url, seen)
            await asyncio.sleep(PAUSE_S)


async def _send(client: httpx.AsyncClient, attempt: Attempt, url: str, seen: Seen) -> None:
    headers = {"x-aegis-agent-token": attempt.token} if attempt.token else {}
    headers |= {"content-type": "application/json"} if attempt.content else {}
    started = time.perf_counter()
    try:
        answer = await client.request(attempt.method, url, headers=headers, content=attempt.content or None)
    except httpx.HTTPError as error:
        seen.statuses[type(error).__name__] += 1
        return
    if seen.quiet:
        seen.latencies.append(time.perf_counter() - started)
    seen.statuses[str(answer.status_code)] += 1
    name = answer.headers.get(DECISION_ID)
    if name:
        seen.told[name] = answer.status_code == 200


async def kill(stack: Stack, seen: Seen, ends: float, moments: random.Random) -> None:
    start = {
        "opa": stack.deployment.start_opa,
        "follower": stack.deployment.start_follower,
        "worker": stack.deployment.start_worker,
    }
    while time.monotonic() < ends:
        await asyncio.sleep(moments.uniform(*KILL_EVERY_S))
        victim = moments.choice(VICTIMS)
        await asyncio.to_thread(stack.processes.kill, victim)
        await asyncio.to_thread(start[victim])
        seen.kills[victim] += 1


async def look(stack: Stack, seen: Seen, ends: float) -> None:
    while time.monotonic() < ends:
        seen.memory.append({name: _resident_mb(stack.processes.pid(name)) for name in (*VICTIMS, "envoy")})
        await asyncio.sleep(LOOK_EVERY_S)


def _resident_mb(pid: int) -> float:
    return round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6, 1)


async def play(stack: Stack, seconds: float, seed: int) -> Seen:
    seen, begun = Seen(), time.monotonic()
    half, ends = begun + seconds / 2, begun + seconds
    agents = [asyncio.create_task(agent(stack, seen, number, ends)) for number in range(AGENTS)]
    await kill(stack, seen, half, random.Random(seed))
    seen.quiet = True
    await look(stack, seen, ends)
    await asyncio.gather(*agents)
    return seen


def judge(stack: Stack, seen: Seen) -> tuple[dict[str, Any], list[str]]:
    """Figures, and what is wrong."""
    written = records.decisions(stack.ledger)
    missing = seen.told.keys() - written.keys()
    reached = {key for key, ok in seen.told.items() if ok}
    wrong = [key for key in reached - missing if written[key]["decision"] != "allow"]
    third = max(1, len(seen.memory) // 3)
    memory = {
        name: [round(sum(at[name] for at in part) / len(part), 1) for part in _ends(seen.memory, third)]
        for name in (*VICTIMS, "envoy")
    }
    faults = [f"{len(missing)} answers without a record"] if missing else []
    faults += [f"{len(wrong)} went out against their record"] if wrong else []
    faults += [
        f"{name} grew from {old} to {new} MB" for name, (old, new) in memory.items() if new > GROWTH * old
    ]
    ordered = sorted(seen.latencies)
    return {
        "answers": seen.statuses.total(),
        "by_status": dict(seen.statuses),
        "with_record": len(seen.told),
        "decisions_recorded": len(written),
        "epochs": len(records.epochs(stack.ledger)),
        "kills": dict(seen.kills),
        "memory_mb_first_and_last_third_of_the_quiet_half": memory,
        "client_ms": {f"p{rank}": round(ordered[len(ordered) * rank // 100] * 1000, 1) for rank in (50, 99)},
    }, faults


def _ends(
    samples: list[dict[str, float]], count: int
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    return samples[:count], samples[-count:]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aegis-soak-") as scratch, running(Path(scratch)) as stack:
        seen = asyncio.run(play(stack, options.minutes * 60, options.seed))
        figures, faults = judge(stack, seen)
    figures = {"minutes": options.minutes, "verified": True} | figures
    print(json.dumps(figures, indent=1))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    print("\n".join(faults), file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
