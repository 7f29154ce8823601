"""Says in the control log which worker logs there are and how far each was ever signed (EVIDENCE section 6).

    log_open     a log has its first checkpoint             once
    log_head     its size and root now                      every `follower.heads_s`, until it is closed
    log_close    it will not be sealed any further, and why once

In: the ledgers' directory, the sealer's word on what it is done with, the checkpoint store. Out: events in
the outbox, heads for the control task. Called by that task, on a thread of its own. What counts is what the
store says was signed: a checkpoint file can be put back, a row only grows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from authz.followers.places import Place, find
from authz.ledger import control, merkle, reader
from authz.ledger.checkpoints import Checkpoints
from authz.ledger.journal import FAILED
from authz.ledger.members import is_time
from authz.ledger.outbox import Outbox

NOTHING_SIGNED: Final = (0, merkle.EMPTY_HASH)


class Heads:
    """Of the worker logs below `ledgers`; `settled(directory)` as the sealer says it."""

    def __init__(
        self,
        ledgers: Path,
        deployment: str,
        store: Checkpoints,
        outbox: Outbox,
        settled: Callable[[Path], bool],
    ) -> None:
        self._ledgers, self._deployment = ledgers, deployment
        self._store, self._outbox, self._settled = store, outbox, settled
        self._open: set[str] = set()
        self._closed: set[str] = set()

    def look(self) -> None:
        """Put word of what has begun or ended since. Raises EvidenceUnavailable, OSError."""
        for place in find(self._ledgers, self._deployment):
            if place.worker != control.WORKER and place.log not in self._closed:
                self._look(place)

    def now(self) -> list[dict[str, Any]]:
        """The members of a `log_head` of each log that is open."""
        return [_point(log, *(self._store.latest(log) or NOTHING_SIGNED)) for log in sorted(self._open)]

    def _look(self, place: Place) -> None:
        done = self._settled(place.directory)  # asked first: what is stored then is the last
        stored = self._store.latest(place.log)
        if stored is None and not done:
            return
        size, root = stored or NOTHING_SIGNED
        point = _point(place.log, size, root)
        if place.log not in self._open:
            opened = reader.first_entry(place.directory).get("timestamp")
            said = point | ({"opened": opened} if is_time(opened) else {})
            self._outbox.put("log_open", said, once=f"log_open {place.log}")
            self._open.add(place.log)
        if end := _end(place, size, done):
            self._outbox.put("log_close", point | {"end": end}, once=f"log_close {place.log}")
            self._open.remove(place.log)
            self._closed.add(place.log)


def _end(place: Place, size: int, done: bool) -> str:
    """Why the log will not go on from `size`; "" while it may."""
    last = reader.last_entry(place.directory)
    if last.get("kind") == "close" and last.get("seq") == size - 1:
        return "closed"
    if not done:
        return ""
    return "failed" if os.path.lexists(place.directory / FAILED) else "left"


def _point(log: str, size: int, root: bytes) -> dict[str, Any]:
    return {"of": log, "size": size, "root": root.hex()}
