"""Record and log key are rotated under load, and worker and rotation are killed by SIGKILL at random moments.

After each kill every acknowledged entry is on disk; at the end the whole ledger verifies with all keys
pinned.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from authz.ledger import notes
from tests import ledgers
from tests.killed import lost
from tests.workers import Worker

KILLS = 6


@contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process of `tests.killed`, killed at the end."""
    process = subprocess.Popen([sys.executable, "-m", "tests.killed", *map(str, arguments)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.timeout(300)
def test_no_acknowledged_entry_is_lost_and_all_verify(worker: Worker) -> None:
    for kill in range(KILLS):
        seen, handed = size(worker), hand_overs(worker)
        with running("forever", worker.state, 0.02) as writing, running("rotate", worker.state) as rotating:
            until = seen + random.randint(1, 20_000)
            while size(worker) <= until or (kill % 2 and hand_overs(worker) < handed + 2):
                assert writing.poll() is None
                assert rotating.poll() is None
                time.sleep(random.uniform(0, 0.005))
            random.choice((writing, rotating)).kill()
            time.sleep(random.uniform(0, 0.1))
        assert lost(worker) == []
        worker.seal()
    history = worker.check()
    assert hand_overs(worker) >= KILLS
    for entries in history[1:]:
        gaps = [entry["why"] for entry in entries if entry["kind"] == "gap"]
        assert all("is not here any more" in why for why in gaps), gaps
    assert all(log.unsealed == 0 for log in ledgers.check(worker.root, pinned=worker.trust()).logs)
    note = notes.parse((worker.epochs[-1] / "checkpoint").read_bytes())
    assert len(note.signatures) == 2, "while one log key takes over from another both sign"


def size(worker: Worker) -> int:
    """Bytes in the file of acknowledged entries."""
    file = worker.state / "acknowledged"
    return file.stat().st_size if file.exists() else 0


def hand_overs(worker: Worker) -> int:
    if not worker.root.exists():
        return 0
    stored = [file.read_bytes() for file in worker.root.glob("*/entries/*.jsonl")]
    return sum(data.count(b'"kind":"key"') for data in stored)
