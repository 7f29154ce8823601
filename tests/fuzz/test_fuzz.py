"""Each parser of bytes from outside under a coverage-guided fuzzer, for a bounded time.

`AEGIS_FUZZ_SECONDS` sets it for each target (default 3); a find prints the input that shows it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import SEEDS, TARGETS

ROOT = Path(__file__).resolve().parents[2]
SECONDS = int(os.environ.get("AEGIS_FUZZ_SECONDS", "3"))


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_seeds_are_taken(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.timeout(SECONDS + 110)
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_bytes_surprise_a_parser(name: str, tmp_path: Path) -> None:
    options = [f"-max_total_time={SECONDS}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=2048"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.fuzz", name, *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=SECONDS + 100,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert "Done " in done.stderr, done.stderr[-2000:]
