"""A worker in a process of its own, for tests that kill it. It notes every acknowledged entry in a file.

    python -m tests.killed forever STATE [SECONDS]    until somebody kills it; looks for keys so often
    python -m tests.killed rotate STATE               rotates record and log key until somebody kills it
    python -m tests.killed calls STATES PART          dies by SIGKILL at each call to its disk in turn
    python -m tests.killed kernel STATES STRIDE       the kernel kills it at every STRIDE-th system call

`STATE/acknowledged` has a line `<log> <seq> <entry hash>` for each, appended after the answer was there.
`calls` forks a child for each death, since starting Python takes longer than everything that is tested. For
every call it makes a state in STATES in which a first worker died there; the workers that follow die at each
of their own calls, recovery's among them, until one lives to its end. `kernel` has a state for each kind of
call, in which a worker dies at the next one each time, is judged, and is followed by another one (strace(1)
does it); it prints the deaths as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from itertools import count
from pathlib import Path

import uvloop

from authz.errors import AegisError
from authz.ledger.journal import Disk
from tests import ledgers
from tests.strace import KINDS, forked, under
from tests.unit.ledger.disks import MortalDisk
from tests.workers import Worker, decision

TURNS = 2  # of three decisions each, when it is not forever


async def live(state: Path, disk: Disk, turns: int, look_s: float = 30.0) -> None:
    """Start, append, note what was acknowledged, stop."""
    ledger = Worker(state, reply_after="bounded", heartbeat_s=look_s).open(disk)
    noted = os.open(state / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for turn in range(turns):
        futures = [
            ledger.append("decision", decision(number), synced=number % 3 == 0)
            for number in range(3 * turn, 3 * turn + 3)
        ]
        for future in asyncio.as_completed(futures):
            written = await future
            os.write(noted, f"{written.log} {written.seq} {written.entry_hash}\n".encode())
    await ledger.close()


def rotate(state: Path) -> None:
    worker = Worker(state)
    while True:
        worker.rotate("record")
        worker.rotate("log", overlap_until="9999-01-01T00:00:00.000000Z")
        time.sleep(0.2)


def dies(state: Path, call: int, part: float) -> bool:
    """Whether a worker that is to be killed at its system call number `call` came so far."""
    child = os.fork()
    if child == 0:
        try:
            uvloop.run(live(state, MortalDisk(call, part), TURNS))
        except AegisError as error:
            os.write(2, f"{state}: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit("a worker could not start")
    return os.WIFSIGNALED(status)


def calls(states: Path, part: float) -> None:
    for first in count(1):
        state = states / f"{first:03}"
        if not dies(state, first, part):
            return
        for call in count(1):
            if not dies(state, call, part):
                break


def kernel(states: Path, stride: int) -> Counter[str]:
    """Raises AssertionError for what was lost, or does not verify."""
    deaths: Counter[str] = Counter()
    for kind in KINDS:
        worker = Worker(states / kind)
        for when in count(1, stride):
            command = under(f"{kind}:signal=KILL:when={when}")
            with forked(lambda state=worker.state: live(state, Disk(), TURNS), command) as child:
                _, status = os.waitpid(child, 0)
            assert status in (0, signal.SIGKILL), f"{kind} {when}: {status}"
            if worker.root.is_dir() and worker.epochs:
                report = ledgers.check(worker.root)
                assert report.verified, f"{kind} {when}: {report.first_fault}"
                assert lost(worker) == []
            if status == 0:
                break
            deaths[kind] += 1
        assert worker.kinds()[-1] == "close"
    return deaths


def lost(worker: Worker) -> list[str]:
    """What was acknowledged and is not on disk, byte for byte."""
    there = {
        f"aegis.test/worker-0/{epoch.name} {seq} {ledgers.merkle.leaf_hash(entry).hex()}"
        for epoch in worker.epochs
        for seq, entry in enumerate(ledgers.read(epoch))
    }
    file = worker.state / "acknowledged"
    noted = file.read_text().splitlines() if file.exists() else []
    return [line for line in noted if line not in there]


if __name__ == "__main__":
    if sys.argv[1] == "forever":
        uvloop.run(live(Path(sys.argv[2]), Disk(), 1 << 40, float(*sys.argv[3:] or [30])))
    elif sys.argv[1] == "rotate":
        rotate(Path(sys.argv[2]))
    elif sys.argv[1] == "kernel":
        print(json.dumps(kernel(Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        calls(Path(sys.argv[2]), float(sys.argv[3]))
