"""Follower and receiver killed at random while entries are appended: whatever comes twice, none is lost."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests import ledgers
from tests.collector import once
from tests.exporting import everything
from tests.wire.serving import until
from tests.workers import Worker, decision

DEATHS = 10  # half of them the follower's
ENTRIES = 40  # appended between two of them
pytestmark = pytest.mark.timeout(110)


class Process:
    """One that is started again after each death."""

    def __init__(self, *command: str) -> None:
        self._command = command
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(*command: str) -> Process:
        started.append(Process(*command))
        return started[-1]

    yield start
    for each in started:
        each.kill()


def settings(worker: Worker) -> Path:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bundles = f"127.0.0.1:{listener.getsockname()[1]}"
    tree = {
        "deployment": "aegis.test",
        "state": str(worker.state),
        "follower": {"checkpoint_s": 0.05, "bundles": bundles, "metrics": "", "stream": ""},
        "exporters": {
            "every_s": 0,
            "retry_max_s": 0.2,
            "otlp": {"endpoint": f"unix:{worker.state}/otlp.sock", "batch": 16},
            "files": {"enabled": True, "columns": {}, "max_bytes": 20_000},
        },
    }
    (worker.state / "bundles").mkdir()
    file = worker.state / "aegis.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def whole_lines(file: Path) -> list[str]:
    return [line.decode() for line in file.read_bytes().split(b"\n")[:-1]] if file.exists() else []


def in_files(worker: Worker) -> list[str]:
    found = sorted((worker.state / "export/records/worker-0").glob("records-*.jsonl"))
    active = worker.state / "export/records/worker-0/records.jsonl"
    return [line for file in [*found, active] for line in whole_lines(file)]


async def test_after_deaths_at_random_every_entry_has_arrived_and_counts_once(
    worker: Worker, start: Callable[..., Process]
) -> None:
    chance = random.Random(20260101)
    received = worker.state / "received.jsonl"
    aegis = Path(sys.executable).with_name("aegis")
    collector = start(sys.executable, "-m", "tests.collector", f"{worker.state}/otlp.sock", str(received))
    follower = start(str(aegis), "follow", "--config", str(settings(worker)))
    seen = 0
    for death in range(DEATHS):
        async with worker.running() as ledger:
            for number in range(ENTRIES):
                await ledger.append("decision", decision(1000 * death + number))
        # Some of what is new has arrived: both are at work.
        wanted = seen + chance.randrange(ENTRIES)
        await until(lambda wanted=wanted: len(whole_lines(received)) > wanted, 60)
        if death % 2:
            follower.kill()
            follower.start()
        else:
            Path(f"{received}.die").touch()  # between receipt and acknowledgement, if something comes
            await asyncio.sleep(chance.random() / 10)  # or anywhere else: the moment is the experiment
            collector.kill()
            Path(f"{received}.die").unlink(missing_ok=True)
            collector.start()
        seen = len(whole_lines(received))
    stored = [entry.decode() for epoch in worker.epochs for entry in ledgers.read(epoch)]
    await until(lambda: set(stored) <= set(whole_lines(received)) & set(in_files(worker)), 60)
    ours = [line for line in whole_lines(received) if f'"log":"{ledgers.WORKER}/' in line]
    assert once(ours) == everything(worker)
    assert once(in_files(worker)) == everything(worker)
    assert not list((worker.state / "export").rglob("dead_letters.jsonl"))
