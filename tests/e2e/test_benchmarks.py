"""The benchmarks run to their end and say every figure; whether it is a good one is not for a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from authz.up.deployment import ROOT

MISSED = 1


@pytest.mark.timeout(240)
def test_the_ledger_s_benchmark_says_every_figure(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "benchmarks/ledger.py", "--entries", "3000"]
    command += ["--state", tmp_path / "state", "--out", tmp_path / "out.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode in (0, MISSED), done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    for what in (
        "append",
        "start again, nothing sealed",
        "start again, all sealed",
        "proof, by a process that goes on",
    ):
        assert any(name.startswith(what) for name in found), what
    assert {name.split(",")[0] for name in found if name.startswith("verify")} == {
        f"verify level {level}" for level in (1, 2, 3)
    }
