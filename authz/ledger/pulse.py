"""Heartbeats: what a log says when nothing is decided, and of what left without a record.

Once a second: refusals since the last look, a clock that stepped by more than a second, or `heartbeat_s`
without any entry make one `heartbeat` entry. Called by the event loop; owned by the writer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from authz.errors import EvidenceUnavailable

LOOK_EVERY_S: Final = 1.0
MAX_SOURCES: Final = 32  # distinct (reason, source) pairs named in one heartbeat; the rest is "other"
STEP_NS: Final = 1_000_000_000


class Appends(Protocol):
    seq: int

    def append(self, kind: str, members: dict[str, Any], *, synced: bool = False) -> asyncio.Future[Any]: ...


class Pulse:
    """Looks once a second until `stop`."""

    def __init__(self, writer: Appends, heartbeat_s: float, clock_ns: Callable[[], int]) -> None:
        self._writer = writer
        self._heartbeat_s = heartbeat_s
        self._clock_ns = clock_ns
        self._refusals: dict[tuple[str, str], int] = {}
        self._offset = clock_ns() - time.monotonic_ns()
        self._seq, self._since = writer.seq, time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)

    def refused(self, reason: str, source: str) -> None:
        key = (reason, source)
        if key not in self._refusals and len(self._refusals) >= MAX_SOURCES:
            key = (reason, "other")
        self._refusals[key] = self._refusals.get(key, 0) + 1

    def stop(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)
        if self._writer.seq != self._seq:
            self._seq, self._since = self._writer.seq, time.monotonic()
        members = self._noted()
        if not members and time.monotonic() - self._since < self._heartbeat_s:
            return
        with suppress(EvidenceUnavailable):  # who waits for a record is told; a heartbeat has nobody to tell
            self._writer.append("heartbeat", {"size": self._writer.seq, **members})
            self._refusals.clear()

    def _noted(self) -> dict[str, Any]:
        members: dict[str, Any] = {}
        if self._refusals:
            members["refusals"] = [
                {"reason_code": reason, "source": source, "count": count}
                for (reason, source), count in self._refusals.items()
            ]
        offset = self._clock_ns() - time.monotonic_ns()
        if abs(offset - self._offset) > STEP_NS:
            members["clock_step_us"] = (offset - self._offset) // 1000
            self._offset = offset
        return members
