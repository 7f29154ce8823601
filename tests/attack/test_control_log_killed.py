"""The process that writes the control log is killed again and again: every event is there, and once."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time

import pytest

from authz.ledger.outbox import Outbox
from tests.controls import HOLD, events, running
from tests.workers import Worker, decision

DEATHS = 8
pytestmark = pytest.mark.timeout(110)


def put_until_some_are_written(outbox: Outbox, number: int, wanted: int) -> int:
    """Put events while the process writes them, until it has written so many; the next number."""
    first, deadline = number, time.monotonic() + 60
    while number - first - outbox.count() < wanted:
        assert time.monotonic() < deadline
        outbox.put("hold", HOLD | {"name": str(number)})
        number += 1
        time.sleep(0.002)  # SQLite's lock is not fair: who puts without a pause keeps it
    return number


async def test_after_deaths_at_random_every_event_is_an_entry_once_and_in_order(worker: Worker) -> None:
    chance = random.Random(20260101)
    async with worker.running() as ledger:
        await ledger.append("decision", decision(1))
        outbox, number = Outbox(worker.settings.outbox), 0
        for _ in range(DEATHS):
            process = subprocess.Popen([sys.executable, "-m", "tests.controlled", str(worker.state)])
            try:
                number = put_until_some_are_written(outbox, number, 1 + chance.randrange(20))
                await asyncio.sleep(chance.random() / 50)  # the moment is the experiment
            finally:
                process.kill()
                process.wait(30)
        outbox.close()
    async with running(worker) as control:
        await control.drained()
        control.sealer.round()
        await control.drained()
    entries = events(worker)
    names = [entry["name"] for entry in entries if entry["kind"] == "hold"]
    assert names == [str(each) for each in range(number)]
    assert sum(entry["kind"] == "log_open" for entry in entries) == 1
