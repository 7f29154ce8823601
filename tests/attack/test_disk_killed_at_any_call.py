"""Killed at any system call, also while it recovers from being killed: nothing acknowledged is lost, and the
ledger is whole.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.killed import lost
from tests.strace import under
from tests.workers import Worker


@pytest.fixture
def states() -> Iterator[Path]:
    """In memory where there is such a place: a sync to a disk adds minutes here and nothing else."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with TemporaryDirectory(dir=memory) as directory:
        yield Path(directory)


@pytest.mark.parametrize("part", ["0", "0.5", "1"])
def test_every_death_leaves_a_whole_ledger_with_all_that_was_acknowledged(states: Path, part: str) -> None:
    """`part` of the write that is under way at the death reaches the disk."""
    subprocess.run([sys.executable, "-m", "tests.killed", "calls", states, part], check=True, timeout=110)
    assert len(list(states.iterdir())) >= 15
    cut = 0
    for state in states.iterdir():
        worker = Worker(state)
        assert lost(worker) == []
        assert worker.kinds()[-1] == "close"
        cut += sum("cut_bytes" in entry for epoch in worker.history() for entry in epoch)
    assert bool(cut) == (part == "0.5")


def test_a_worker_that_the_kernel_kills_at_any_system_call_lost_nothing(states: Path) -> None:
    """Every open, write, sync and mkdir, those of locks, stores and recovery too, not only its ledger's."""
    under("write")  # said at once where there is no strace
    command = [sys.executable, "-m", "tests.killed", "kernel", states, "1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    deaths = json.loads(done.stdout.splitlines()[-1])
    assert all(deaths[kind] > 1 for kind in ("openat", "write", "fsync", "fdatasync", "mkdir")), deaths
