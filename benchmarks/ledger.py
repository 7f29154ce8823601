"""`make bench-ledger`: what the ledger itself does in a second, on this machine, without gRPC.

    python benchmarks/ledger.py [--entries 1000000] [--state DIRECTORY] [--only PART] [--out NAME.json]

A worker's real writer appends entries as long as those of `make up` (2 KB), 512 of them waiting for their
sync at a time, and is killed; it starts again with nothing sealed and, after a real follower's round, with
everything sealed; entries out of it are proved; the whole is verified on each level with one process a core.
Times are of the clock; a restart drops the page cache itself. With `--state` the ledger is kept, and used as
it is by the next call.

Targets: 10,000 entries appended in a second; level 2 over 10 million entries in 60 s (by proportion from what
is measured, which is said); a restart with a million in 5 s; a proof in 50 ms. Exit status 1 when one of them
is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import uvloop

from authz.config import Settings
from authz.followers.own_keys import OwnKeys
from authz.followers.seal import Sealer
from authz.ledger import files, notes
from authz.ledger.checkpoint_store import open_to_sign
from authz.ledger.opening import open_ledger
from authz.ledger.proofs import Proofs
from authz.ledger.scrub import Scrub
from authz.ledger.writer import Observed

WAITING = 512
PROOFS = 200
TEN_MILLION = 10_000_000
MILLION = 1_000_000
AEGIS = Path(sys.executable).with_name("aegis")
# A decision of `make up`, but for what the writer adds and what differs from one to the next.
DECISION: dict[str, Any] = {
    "action": "http",
    "agent_id": "clinical-agent",
    "cache": "shared",
    "category": "read_regulated",
    "decision": "allow",
    "endpoint": "http://internal-ehr.myorg.example/patients/17/records",
    "engine": "opa",
    "evaluation_us": 3001,
    "evidence": [
        "agents/clinical-agent",
        "destinations/internal-ehr.myorg.example",
        "matrix/read_regulated/regulated",
        "tools/ehr.read",
    ],
    "identity_assurance": "jwt",
    "identity_key": "sample-ed25519",
    "identity_source": "19d6e8047d790835",
    "method": "GET",
    "mode": "enforce",
    "obligations": {"capture": "hash", "retention_days": 2555},
    "params_hash": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    "policy_digest": "064dfed56e6ecae6e85e5e8ee7f9fb770e7cbaae7248c6bb6c9df69f2cb1463a",
    "policy_version": "v1.3.2",
    "rationale": ["policy-compliant"],
    "reason_code": "permitted",
    "reply_after": "bounded",
    "rule": "matrix/read_regulated/regulated",
    "sensitivity": "regulated",
    "tool": "ehr.read",
}


def decision(number: int) -> dict[str, Any]:
    digits = f"{number:032x}"
    return DECISION | {
        "decision_id": f"019b7690-{digits[-4:]}-7000-8000-{digits[-12:]}",
        "request_id": f"{digits[:8]}-{digits[8:12]}-4000-8000-{digits[-12:]}",
        "span_id": digits[-16:],
        "trace_id": digits,
    }


def settings_in(state: Path) -> Settings:
    return Settings(deployment="aegis.local", worker="worker-0", state=state)


# -- in a process of its own, which is killed


def append(state: Path, entries: int) -> None:
    """Append until there are so many, print what it took, and die as if somebody had killed us."""
    uvloop.run(_append(settings_in(state), entries))
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


async def _append(settings: Settings, entries: int) -> None:
    ledger = open_ledger(settings, on_failure=lambda: None, observed=Observed())
    first, began, cpu = ledger.seq, time.perf_counter(), time.process_time()

    async def client() -> None:
        while ledger.seq < entries:
            await ledger.append("decision", decision(ledger.seq))

    await asyncio.gather(*(client() for _ in range(WAITING)))
    count, seconds = ledger.seq - first, time.perf_counter() - began
    spent = (time.process_time() - cpu) / count * 1e6
    print(json.dumps({"entries": count, "per_second": count / seconds, "cpu_us": spent}))


def start(state: Path) -> None:
    """Open the ledger, say how long it took, and die."""

    async def opened() -> None:
        began = time.perf_counter()
        reading = Scrub(on_damage=lambda: sys.exit("damaged"))
        ledger = open_ledger(
            settings_in(state), on_failure=lambda: None, observed=Observed(), leave=reading.leave
        )
        seconds = time.perf_counter() - began
        await reading.run()
        rest_s = time.perf_counter() - began - seconds
        print(json.dumps({"open_s": seconds, "entries": ledger.seq, "rest_s": rest_s}))

    uvloop.run(opened())
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def child(what: str, state: Path, entries: int) -> dict[str, Any]:
    """What that process says of itself, and the seconds from its start to its end."""
    began = time.perf_counter()
    command = [sys.executable, __file__, "--child", what, "--state", str(state), "--entries", str(entries)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode != -signal.SIGKILL:
        sys.exit(f"{what}: status {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"whole_s": time.perf_counter() - began}


# -- what is measured


def seal(settings: Settings) -> float:
    """Seconds of a follower's first round over everything."""
    store = open_to_sign(settings)
    sealer = Sealer(settings.ledger_directory.parent, settings.deployment, store, OwnKeys.of(settings))
    began = time.perf_counter()
    try:
        sealer.round()
    finally:
        sealer.close()
        store.close()
    return time.perf_counter() - began


def proofs(epoch: Path) -> tuple[list[float], list[float]]:
    """Milliseconds of proofs of entries anywhere, sorted: each by a Proofs of its own, and all by one."""
    note, _ = files.checkpoint(epoch)
    assert note is not None
    size, chance = notes.parse(note).size, random.Random(7)

    def one(made: Proofs) -> float:
        began = time.perf_counter()
        made.prove(epoch, chance.randrange(size), note)
        return (time.perf_counter() - began) * 1e3

    kept = Proofs()
    return sorted(one(Proofs()) for _ in range(PROOFS)), sorted(one(kept) for _ in range(PROOFS))


def small(state: Path) -> Path:
    """A ledger of a few entries beside the large one: what verifying it takes is what any verifying takes."""
    other = state / "small"
    if not (other / "ledger").exists():
        prepare(other)
        child("append", other, WAITING)
        seal(settings_in(other))
    return other


def verified(state: Path, level: int) -> tuple[int, float, float]:
    """Entries, seconds of `aegis verify`, and the memory (MB) of the largest process so far."""
    began = time.perf_counter()
    command = [
        AEGIS,
        "verify",
        state / "ledger",
        "--trust",
        state / "trust.json",
        f"--level={level}",
        "--json",
    ]
    report = json.loads(subprocess.check_output(command))
    seconds = time.perf_counter() - began
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return sum(log["entries"] for log in report["logs"]), seconds, largest


Figures = Iterator[tuple[str, str, bool | None]]
"""What was measured, the figure, and whether it meets its target, if it has one."""


def grow(state: Path, entries: int) -> Figures:
    """Append, and start again with nothing sealed, then with all: a ledger that is there stays as it is."""
    settings = settings_in(state)
    if not (state / "ledger").exists():
        run = child("append", state, entries)
        rate = f"{run['per_second']:,.0f}/s, {run['cpu_us']:.0f} us of CPU each"
        yield f"append {run['entries']:,} entries, {WAITING} waiting", rate, run["per_second"] >= 10_000
        yield "start again, nothing sealed", *restart(state)
    yield "a follower's first round over all", f"{seal(settings):.1f} s", None
    yield "start again, all sealed", *restart(state)


def prove(state: Path, _: int) -> Figures:
    (epoch,) = (path for path in settings_in(state).ledger_directory.iterdir() if path.is_dir())
    for who, times in zip(("that just began", "that goes on"), proofs(epoch), strict=True):
        figure = f"{statistics.median(times):.1f} ms, worst {times[-1]:.1f}"
        yield f"proof, by a process {who}", figure, times[-1] < 50


def verify(level: int) -> Callable[[Path, int], Figures]:
    def measured(state: Path, _: int) -> Figures:
        _, start_s, _ = verified(small(state), level)
        count, seconds, megabytes = verified(state, level)
        scaled = start_s + (seconds - start_s) * TEN_MILLION / count
        figure = f"{seconds:.1f} s, {start_s:.1f} of them before the first entry, {megabytes:.0f} MB; "
        figure += f"10 million by proportion: {scaled:.0f} s"
        yield f"verify level {level}, {count:,} entries", figure, scaled <= 60 if level == 2 else None

    return measured


PARTS: dict[str, Callable[[Path, int], Figures]] = {
    "grow": grow,
    "prove": prove,
    **{f"verify{level}": verify(level) for level in (1, 2, 3)},
}


def restart(state: Path) -> tuple[str, bool]:
    """Of a worker that was killed; the target is for a million entries, whatever there are."""
    run = child("start", state, 0)
    ready_s, rest_s = run["whole_s"] - run["rest_s"], run["rest_s"]
    rest = f"; the rest is read while it serves, in {rest_s:.1f} s" if rest_s > 0.1 else ""
    return f"{run['open_s']:.2f} s, with Python {ready_s:.2f} s{rest}", ready_s <= 5 * max(
        1.0, run["entries"] / MILLION
    )


def prepare(state: Path) -> None:
    """Keys, and the trust that pins them."""
    state.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"AEGIS_DEPLOYMENT": "aegis.local", "AEGIS_STATE": str(state)}
    subprocess.check_output([AEGIS, "keys", "generate"], env=environment)
    trust = subprocess.check_output([AEGIS, "keys", "export-trust"], env=environment)
    (state / "trust.json").write_bytes(trust)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=MILLION)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=PARTS, action="append", help="with --state; may be repeated")
    parser.add_argument("--child", choices=("append", "start"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child == "append":
        append(options.state, options.entries)
    if options.child == "start":
        start(options.state)
    with tempfile.TemporaryDirectory(prefix="aegis-bench-ledger-") as scratch:
        state = options.state or Path(scratch)
        prepare(state)
        found = {"python": platform.python_version(), "cpus": len(os.sched_getaffinity(0))}
        missed = False
        figures = (PARTS[part](state, options.entries) for part in options.only or PARTS)
        for what, figure, met in chain.from_iterable(figures):
            missed = missed or met is False
            print(f"{what:<52} {figure}{'' if met is None else '   met' if met else '   MISSED'}", flush=True)
            found[what] = figure
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
