"""SIGKILL at random moments under load, on one boot: the epoch goes on, and no acknowledged entry is lost."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest

from tests import ledgers
from tests.killed import lost
from tests.workers import Worker

KILLS = 20


@pytest.mark.timeout(300)
def test_whatever_was_acknowledged_is_on_disk_after_every_kill(worker: Worker) -> None:
    for kill in range(KILLS):
        seen = acknowledged(worker)
        process = subprocess.Popen([sys.executable, "-m", "tests.killed", "forever", worker.state])
        try:
            while acknowledged(worker) <= seen + random.randint(0, 30_000):
                assert process.poll() is None
                time.sleep(random.uniform(0, 0.005))
        finally:
            process.kill()
            process.wait()
        assert lost(worker) == []
        if kill % 3 == 0:
            worker.seal()
    worker.seal()
    (entries,) = worker.check()
    kinds = [entry["kind"] for entry in entries]
    assert (kinds[0], kinds.count("open"), kinds.count("recovery")) == ("open", 1, KILLS - 1)
    assert ledgers.check(worker.root).logs[0].unsealed == 0


def acknowledged(worker: Worker) -> int:
    """Bytes in the file of those that were."""
    file = worker.state / "acknowledged"
    return file.stat().st_size if file.exists() else 0
