"""The power goes while the follower works: what a disk may hold then is enough to go on from.

Checkpoints, their store, tiles, outbox, control log and receipts lose whatever no sync had made durable; the
anchors, which lie on another machine, lose nothing. The tail that is lost is named by a `gap`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests import power
from tests.strace import under

ROUNDS = 40  # offline as many as wanted: README


@pytest.mark.timeout(300)
def test_everything_acknowledged_outlives_it_and_the_lost_tail_is_a_gap(tmp_path: Path) -> None:
    under("write")  # said at once where there is no strace
    command = [sys.executable, "-m", "tests.followed", "power", tmp_path / "states", str(ROUNDS)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout.splitlines()[-1])
    assert sum(ends.values()) == ROUNDS
    assert ends["gap"] > ROUNDS // 4


def text(said: str) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in said.encode()) + '"'


def test_what_was_synced_stays_and_of_the_rest_a_beginning(tmp_path: Path) -> None:
    """The disk that is played, for itself: two writes, a sync that begins between them, a rename."""
    at_first, root = tmp_path / "at_first", Path("/state")
    at_first.mkdir()
    (at_first / "old").write_bytes(b"old")
    trace = f"""7  openat(AT_FDCWD, {text("/state/new")}, O_WRONLY|O_CREAT|O_CLOEXEC, 0640) = 3
7  write(3, {text("first")}, 5) = 5
8  fdatasync(3 <unfinished ...>
7  write(3, {text("second")}, 6) = 6
8  <... fdatasync resumed>) = 0
7  rename({text("/state/new")}, {text("/state/old")}) = 0
7  write(3, {text("nowhere")}, 7) = -1 ENOSPC (No space left on device)
"""
    disk = power.Disk(root, at_first)
    for call in power.calls(trace):
        disk.play(call)
    assert disk.read(root / "old") == b"firstsecond"
    held = set()
    for seed in range(60):
        disk.lose(tmp_path / str(seed), Random(seed))
        held.add(tuple((file.name, file.read_bytes()) for file in sorted((tmp_path / str(seed)).iterdir())))
    renamed = {end for end in held if len(end) == 1}
    assert all(name == "old" and b"firstsecond".startswith(data) for ((name, data),) in renamed)
    assert {end[0][1][:5] for end in renamed} == {b"first"}
    assert {end[1] for end in held - renamed} == {("old", b"old")}
    assert {end[0][1][:5] for end in held - renamed} == {b"first"}
    assert len({end[0][1] for end in held}) > 3
