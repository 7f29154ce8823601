"""Reads decision records straight from the ledger's files, as `grep` would.

In: a worker's ledger directory. Out: its entries. Nothing is verified here: that is `aegis verify`'s work.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson


def epochs(worker: Path) -> list[Path]:
    """The directories of a worker's epochs, oldest first (their names begin with the time)."""
    return sorted(path for path in worker.iterdir() if (path / "entries").is_dir()) if worker.is_dir() else []


def entries(epoch: Path) -> Iterator[dict[str, Any]]:
    """Every whole entry of an epoch, in order; an unfinished last line is left out."""
    for segment in sorted((epoch / "entries").glob("*.jsonl")):
        for line in segment.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield orjson.loads(line)


def decisions(worker: Path) -> dict[str, dict[str, Any]]:
    """decision_id -> record, over all epochs. Raises ValueError for an id that stands twice."""
    found: dict[str, dict[str, Any]] = {}
    for epoch in epochs(worker):
        for entry in entries(epoch):
            if entry["kind"] == "decision":
                if entry["decision_id"] in found:
                    raise ValueError(f"{entry['decision_id']} is recorded twice")
                found[entry["decision_id"]] = entry
    return found
