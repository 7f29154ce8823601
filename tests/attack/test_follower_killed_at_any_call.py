"""The follower killed by the kernel at its system calls, also while it recovers: what anybody was told is in
the logs, once; all of it verifies; and nothing is signed that is not in the store.
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

from tests.strace import under

STRIDE = 4  # of the calls of each kind, those that are died at; offline all of them: README, "Crashes"


@pytest.fixture
def states() -> Iterator[Path]:
    """In memory where there is such a place: what is not synced is not lost by a kill."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with TemporaryDirectory(dir=memory) as directory:
        yield Path(directory)


@pytest.mark.timeout(300)
def test_every_death_leaves_whole_logs_and_every_event_that_was_put(states: Path) -> None:
    under("write")  # said at once where there is no strace
    command = [sys.executable, "-m", "tests.followed", "calls", states, str(STRIDE)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    deaths = json.loads(done.stdout.splitlines()[-1])
    for kind in ("openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "link"):
        assert deaths[kind] > 0, deaths
