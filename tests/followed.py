"""A follower killed by the kernel at its own system calls, again and again, and judged after each death.

    python -m tests.followed calls STATES STRIDE       at every STRIDE-th call of each kind, from the first on
    python -m tests.followed random STATES SECONDS     at calls drawn by chance, as often as fit into the time

strace(1) sends SIGKILL as a call begins, so that it never happens; the next round dies after it. Before each
round events are put into the outbox and entries into a worker's log; the round's follower, the real one with
sealing, control log and a directory for anchors, begins by recovering from the death before. strace counts
calls by thread. A child is forked for each round, since starting Python takes longer than what is tested.

After each death: every log verifies at level 3 and against the anchors, every acknowledged event is in the
control log or still waits, no event is there twice, and what was signed is in the store. When one lives to
its end, everything is written and sealed. Prints the deaths by kind of call as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Final

import uvloop

from authz.config import Settings
from authz.followers.process import follow
from authz.ledger import anchors, control, files, notes, verify
from authz.ledger.checkpoints import CheckpointStore
from authz.ledger.outbox import Outbox
from tests import ledgers
from tests.controls import HOLD
from tests.strace import under
from tests.workers import Worker, decision

KINDS: Final = (
    "openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "mkdir", "rename", "link", "unlink"
)  # fmt: skip
PATIENCE_S: Final = 60.0
EACH: Final = 2  # events and entries before each round


class Followed:
    """A deployment below `state`: what was acknowledged to those who put, and what the disk says of it."""

    def __init__(self, state: Path) -> None:
        self.worker = Worker(state)
        self.events = self.entries = 0
        self.anchors = state / "elsewhere"
        self.anchors.mkdir(exist_ok=True)
        tree = self.worker.settings.model_dump()
        tree["follower"] |= {
            "checkpoint_s": 0.01,
            "bundles": "127.0.0.1:0",
            "metrics": "",
            "stream": "",
            "heads_s": 3600,
        }
        tree["anchors"]["directory"] |= {"path": self.anchors, "every_s": 0.01}
        self.settings = Settings.model_validate(tree)
        (state / "bundles").mkdir(exist_ok=True)

    def feed(self) -> None:
        """More to do, all of it acknowledged."""
        uvloop.run(self._append())
        with Outbox(self.settings.outbox) as outbox:
            for _ in range(EACH):
                outbox.put("hold", HOLD | {"name": str(self.events)})
                self.events += 1

    async def _append(self) -> None:
        async with self.worker.doomed() as ledger:
            for _ in range(EACH):
                await ledger.append("decision", decision(self.entries))
                self.entries += 1

    def dies(self, kind: str, when: int) -> bool:
        """Whether a follower that is to be killed at its call number `when` of this kind came so far."""
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(uvloop.run(follow(self.settings)))
        command = [*under(f"{kind}:signal=KILL:when={when}"), "-p", str(child)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr
            line = tracer.stderr.readline()
            assert "attached" in line, line
            os.kill(child, signal.SIGCONT)
            status = self._end(child)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL, status
            return True
        assert status == 0, f"{kind} {when}: the follower ended with {os.waitstatus_to_exitcode(status)}"
        return False

    def _end(self, child: int) -> int:
        """How it ended: killed, or told to stop once it had nothing left to do."""
        told, deadline = False, time.monotonic() + PATIENCE_S
        with Outbox(self.settings.outbox) as outbox:
            while True:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    return status
                if not told and outbox.count() == 0 and self._sealed():
                    os.kill(child, signal.SIGTERM)
                    told = True
                if time.monotonic() > deadline:
                    os.kill(child, signal.SIGKILL)
                    raise TimeoutError("the follower neither ended nor did what there was to do")
                time.sleep(0.005)

    def _sealed(self) -> bool:
        """Whether nothing of the worker's log is left to seal."""
        note, _ = files.checkpoint(self.worker.epochs[-1])
        return note is not None and notes.parse(note).size == len(ledgers.read(self.worker.epochs[-1]))

    def judge(self) -> list[str]:
        """The names of the events in the control log, once everything that must hold does."""
        root, written = self.settings.ledger_directory.parent, list[str]()
        given = anchors.read([self.anchors], ledgers.TRUST)
        report = verify.verify(root, ledgers.TRUST, 3, given=given)
        assert report.verified, report.first_fault
        for place in files.discover(root)[0]:
            self._stored(place.path)
            if place.path.parent.name == control.WORKER:
                written += [entry["name"] for entry in ledgers.members(place.path) if entry["kind"] == "hold"]
        with Outbox(self.settings.outbox) as outbox:
            waiting = [event.members["name"] for event in outbox.waiting(1 << 20) if event.kind == "hold"]
        assert written == [str(number) for number in range(len(written))], "out of order, or twice"
        lost = {str(number) for number in range(self.events)} - {*written, *waiting}
        assert not lost, f"acknowledged and neither written nor waiting: {lost}"
        decided = [entry for entry in ledgers.members(self.worker.epochs[-1]) if entry["kind"] == "decision"]
        assert len(decided) == self.entries
        return written

    def _stored(self, epoch: Path) -> None:
        """What a checkpoint says was stored before it was signed."""
        note, _ = files.checkpoint(epoch)
        if not note:
            return
        signed = notes.parse(note)
        store = CheckpointStore(self.settings.path(self.settings.follower.checkpoint_store), read_only=True)
        size, root = store.latest(signed.log) or (0, b"")
        store.close()
        assert size > signed.size or (size, root) == (signed.size, signed.root), epoch

    def finish(self) -> None:
        """One that lives to its end; then nothing waits and everything is under a checkpoint."""
        self.feed()
        assert not self.dies("kill", 1)
        self.whole()

    def whole(self) -> None:
        assert len(self.judge()) == self.events
        report = ledgers.check(self.settings.ledger_directory.parent)
        assert [log.unsealed for log in report.logs] == [0] * len(report.logs)


def calls(states: Path, stride: int) -> Counter[str]:
    """Each kind in a deployment of its own, until a follower does not come as far as the next call."""
    deaths: Counter[str] = Counter()
    for kind in KINDS:
        followed = Followed(states / kind)
        for when in count(1, stride):
            followed.feed()
            if not followed.dies(kind, when):
                break
            followed.judge()
            deaths[kind] += 1
        followed.whole()
    return deaths


def chances(states: Path, seconds: float) -> Counter[str]:
    """Ten deaths for each deployment, so that verifying stays short."""
    deaths: Counter[str] = Counter()
    most = dict.fromkeys(KINDS, 400)
    deadline = time.monotonic() + seconds
    numbers = count()
    while time.monotonic() < deadline:
        followed = Followed(states / f"{next(numbers):05}")
        for _ in range(10):
            kind = random.choice(KINDS)
            when = random.randint(1, most[kind])
            followed.feed()
            if followed.dies(kind, when):
                deaths[kind] += 1
                followed.judge()
            else:  # it makes fewer calls than that
                most[kind] = max(1, when - 1)
                followed.whole()
        followed.finish()
    return deaths


if __name__ == "__main__":
    how, where, much = sys.argv[1:]
    done = calls(Path(where), int(much)) if how == "calls" else chances(Path(where), float(much))
    print(json.dumps(done))
