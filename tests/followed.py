"""A follower killed by the kernel at its own system calls, again and again, and judged after each death.

    python -m tests.followed calls STATES STRIDE       at every STRIDE-th call of each kind, from the first on
    python -m tests.followed random STATES SECONDS     at calls drawn by chance, as often as fit into the time
    python -m tests.followed power STATES ROUNDS       the power goes at so many of its calls (power.py)

strace(1) sends SIGKILL as a call begins, so that it never happens; the next round dies after it. Before each
round events are put into the outbox and entries into a worker's log; the round's follower, the real one with
sealing, control log and a directory for anchors, begins by recovering from the death before. strace counts
calls by thread. A child is forked for each round, since starting Python takes longer than what is tested.

After each death: every log verifies at level 3 and against the anchors, every acknowledged event is in the
control log or still waits, no event is there twice, and what was signed is in the store. When one lives to
its end, everything is written and sealed. Where the power goes, a new follower starts on what the disk may
hold then, in an epoch of its own whose `gap` names the old one, and is judged likewise, also by the anchors
that lie elsewhere. Prints the deaths by kind of call as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
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
from authz.ledger.tiles import WIDTH
from tests import ledgers, power
from tests.controls import HOLD
from tests.strace import KINDS, forked, under
from tests.workers import Worker, decision

PATIENCE_S: Final = 60.0
AFTER: Final = "after the power came back"
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

    def feed(self, entries: int = EACH) -> None:
        """More to do, all of it acknowledged."""
        uvloop.run(self._append(entries))
        with Outbox(self.settings.outbox) as outbox:
            for _ in range(EACH):
                outbox.put("hold", HOLD | {"name": str(self.events)})
                self.events += 1

    async def _append(self, entries: int) -> None:
        async with self.worker.doomed() as ledger:
            numbers = range(self.entries, self.entries + entries)
            await asyncio.gather(*(ledger.append("decision", decision(number)) for number in numbers))
            self.entries += entries

    def dies(self, kind: str, when: int) -> bool:
        """Whether a follower that is to be killed at its call number `when` of this kind came so far."""
        command = under(f"{kind}:signal=KILL:when={when}")
        with forked(lambda: follow(self.settings), command) as child:
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
        written = [name for name in written if name != AFTER]
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

    def restart(self) -> str:
        """Follow what a disk held; how the log before ended: `closed`, `gap`, or `none` was there."""
        before = self._epochs()
        with Outbox(self.settings.outbox) as outbox:
            outbox.put("hold", HOLD | {"name": AFTER})
        assert not self.dies("kill", 1)
        self.whole()
        if not before:
            return "none"
        old, new = before[-1], self._epochs()[-1]
        assert old != new
        said = [entry for entry in ledgers.members(new) if entry["kind"] == "gap"]
        if ledgers.members(old)[-1:] and ledgers.members(old)[-1]["kind"] == "close":
            return "closed"
        assert [gap["old_log"].rpartition("/")[2] for gap in said] == [old.name]
        return "gap"

    def _epochs(self) -> list[Path]:
        """Of the control log, those that hold an entry: recovery forgets one that lost its first."""
        root = self.settings.ledger_directory.with_name(control.WORKER)
        return [each for each in sorted(root.glob("*Z-*")) if ledgers.read(each)]

    def whole(self) -> None:
        assert len(self.judge()) >= self.events
        report = ledgers.check(self.settings.ledger_directory.parent)
        assert [log.unsealed for log in report.logs] == [0] * len(report.logs)


# -- the power goes


async def _live(settings: Settings, events: int) -> int:
    """Follow while events are put, each acknowledged in a file, until all of them are written."""
    noted = os.open(settings.state / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def put() -> None:
        with Outbox(settings.outbox) as outbox:
            for number in range(events):
                outbox.put("hold", HOLD | {"name": str(number)})
                os.write(noted, b".")
                await asyncio.sleep(0.02)
            while outbox.count():
                await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    putting = asyncio.create_task(put())
    try:
        return await follow(settings)
    finally:
        await putting


def traced(followed: Followed, events: int) -> str:
    """What strace wrote of a follower that lived to its end."""
    written = followed.worker.state.with_suffix(".strace")
    command = ["strace", "-f", "-xx", "-s", "1000000", "-e", f"trace={power.TRACED}", "-o", str(written)]
    with forked(lambda: _live(followed.settings, events), command) as child:
        assert os.waitpid(child, 0)[1] == 0
    return written.read_text()


def outages(states: Path, rounds: int, events: int = 12) -> Counter[str]:
    """One follower's life, and what the disk may hold at `rounds` moments of it."""
    first = Followed(states / "first")
    first.feed(WIDTH + EACH)  # so that there is a tile to write
    with Outbox(first.settings.outbox) as outbox:
        outbox.written(first.events)
    first.events = 0
    at_first = states / "at_first"
    shutil.copytree(first.worker.state, at_first)
    done = list(power.calls(traced(first, events)))
    disk = power.Disk(first.worker.state, at_first)
    for call in done:
        disk.play(call)
    disk.check(first.worker.state)
    chance, ends = random.Random(20260101), Counter[str]()
    for number in range(rounds):
        upto = chance.randint(1, len(done))
        disk = power.Disk(first.worker.state, at_first)
        for call in done[:upto]:
            disk.play(call)
        state = states / f"{number:05}"
        disk.lose(state, chance, spared=("elsewhere",))
        after = Followed(state)
        after.events = len(disk.read(first.worker.state / "acknowledged"))
        after.entries = first.entries
        ends[after.restart()] += 1
        shutil.rmtree(state)
    return ends


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


def chances(states: Path, seconds: int) -> Counter[str]:
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
    Path(where).mkdir(parents=True, exist_ok=True)
    ways = {"calls": calls, "random": chances, "power": outages}
    print(json.dumps(ways[how](Path(where), int(much))))
