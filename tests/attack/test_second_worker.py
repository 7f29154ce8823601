"""Two workers on one ledger: a log has exactly one writer, whoever comes second, in whatever process."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from authz.errors import LedgerLocked
from tests.workers import Worker, decision


async def test_a_second_process_is_refused_until_the_first_is_dead(worker: Worker) -> None:
    first = subprocess.Popen([sys.executable, "-m", "tests.killed", "forever", worker.state])
    try:
        while not (worker.state / "acknowledged").exists():
            assert first.poll() is None
            await asyncio.sleep(0.005)
        before = worker.epochs
        for _ in range(3):
            with pytest.raises(LedgerLocked, match=f"{worker.root}: another process writes this ledger"):
                worker.open()
        assert (worker.epochs, first.poll()) == (before, None)
    finally:
        first.kill()
        first.wait()
    async with worker.running() as ledger:
        await ledger.append("decision", decision(1))
    assert worker.kinds().count("recovery") == 1
    assert worker.epochs == before


async def test_workers_of_other_names_do_not_disturb_each_other(worker: Worker) -> None:
    second = Worker(worker.state)
    second.settings = second.settings.model_copy(update={"worker": "worker-1"})
    async with worker.running() as one, second.running() as two:
        await asyncio.gather(one.append("decision", decision(1)), two.append("decision", decision(2)))
    assert one.log.split("/")[1:2] + two.log.split("/")[1:2] == ["worker-0", "worker-1"]
