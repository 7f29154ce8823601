"""What anchors gave for checkpoints: for `aegis verify --anchors`, and to go on after a restart.

    <state>/anchors/<log>/<20-digit size>              the checkpoint as it was shown
                          <20-digit size>.cosigned     with the cosignatures of witnesses
                          <20-digit size>.tsr          the response of a time-stamping authority
                          <20-digit size>.s3           bucket, key, version, until when it is locked
                          last.json                    {"witness":{"at":1795308000.0,"size":5},...}

In: Candidates and Receipts. Out: files that are durable before `last.json` says so. Called by the runner and
by `aegis anchors status`. None of it is believed by anybody: signatures are checked where they are used.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from authz.followers.anchors.anchor import Candidate, Receipt
from authz.followers.anchors.directory import file_name
from authz.followers.durable_files import create, make_directories, replace

LAST: Final = "last.json"
MAX_LAST: Final = 4096  # bytes


class Done(Struct, frozen=True):
    """`size` entries were anchored; their checkpoint had been read `at` (Unix seconds)."""

    size: int
    at: float


class Receipts:
    """Those below `directory`, for the threads of all anchors of one process."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._writing = directory, threading.Lock()

    def keep(self, candidate: Candidate, receipt: Receipt) -> Path:
        """Durable when this returns; the file that stands for it. Raises OSError."""
        note = self._directory / candidate.log / file_name(candidate.size)
        artefact = note.with_name(note.name + receipt.suffix)
        with self._writing:
            make_directories(note.parent)
            create(note, candidate.note)
            if receipt.suffix:
                replace(artefact, receipt.artefact)
        return artefact

    def shown(self, log: str, size: int) -> bytes | None:
        """The note that was shown for this size before, if any: one size has one note. Raises OSError."""
        try:
            return (self._directory / log / file_name(size)).read_bytes()
        except FileNotFoundError:
            return None

    def note(self, log: str, kind: str, done: Done) -> None:
        """Remember what was anchored last. Raises OSError."""
        with self._writing:
            last = self.last(log) | {kind: done}
            tree = {name: {"at": each.at, "size": each.size} for name, each in last.items()}
            replace(self._directory / log / LAST, json.dumps(tree, sort_keys=True).encode() + b"\n")

    def last(self, log: str) -> dict[str, Done]:
        """By kind, what was anchored last. What cannot be read counts as nothing: it is anchored again."""
        try:
            with (self._directory / log / LAST).open("rb") as stream:
                tree = json.loads(stream.read(MAX_LAST))
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError):
            return {}
        if not isinstance(tree, dict):
            return {}
        return {kind: done for kind, each in tree.items() if (done := _done(each))}


def _done(each: Any) -> Done | None:
    if not isinstance(each, Mapping):
        return None
    size, at = each.get("size"), each.get("at")
    if type(size) is not int or type(at) is not float or size < 0 or not math.isfinite(at):
        return None
    return Done(size, at)
