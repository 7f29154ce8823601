"""What any test may ask for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers import Worker

# `opa` and `envoy` are installed beside this Python, whose directory need not be on PATH.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """A worker's ledger, found whole on disk after the test unless that judged it itself."""
    made = Worker(tmp_path / "var")
    yield made
    if made.root.is_dir() and made.epochs and not made.judged:
        made.check()
