"""Heartbeats: what a log says when nothing is decided, and of what left without a record.

Once a second: refusals and lost outcomes since the last look, a clock that stepped by more than a second, or
is kept right no longer or again, or `heartbeat_s` without any entry make one `heartbeat` entry; a busy log
has one each CLOCK_EVERY_S. After a write that failed one is tried at every look: a ledger that nobody is
sent to any more finds out that it is well again. Called by the event loop; owned by the writer.

    {"size": entries before this one, "clock": what the kernel says of it (`kernel_clock.py`),
     "clock_step_us": how far it stepped,
     "refusals": [{"reason_code", "source", "count"}, ...],
     "outcomes_lost": [{"reason_code", "source", "count"}, ...]}
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from authz.errors import EvidenceUnavailable

LOOK_EVERY_S: Final = 1.0
MAX_PAIRS: Final = 24  # distinct (reason, source) pairs named in one heartbeat; the rest is source "other"
MAX_SOURCE: Final = 64  # characters of a source's name that are kept
STEP_NS: Final = 1_000_000_000
CLOCK_EVERY_S: Final = 600.0  # between two heartbeats of a busy log

_Counts = dict[tuple[str, str], int]


class _Told:
    """What the next heartbeat has to name: by reason and source, each bounded by itself."""

    def __init__(self) -> None:
        self.refusals: _Counts = {}
        self.outcomes_lost: _Counts = {}

    def __bool__(self) -> bool:
        return bool(self.refusals or self.outcomes_lost)

    def add(self, other: _Told) -> None:
        for counts, more in ((self.refusals, other.refusals), (self.outcomes_lost, other.outcomes_lost)):
            for (reason, source), count in more.items():
                _count(counts, reason, source, count)


def _count(counts: _Counts, reason: str, source: str, count: int) -> None:
    key = (reason, source[:MAX_SOURCE])
    if key not in counts and len(counts) >= MAX_PAIRS:
        key = (reason, "other")
    counts[key] = counts.get(key, 0) + count


def _listed(counts: _Counts) -> list[dict[str, Any]]:
    return [
        {"reason_code": reason, "source": source, "count": count}
        for (reason, source), count in counts.items()
    ]


class Appends(Protocol):
    @property
    def seq(self) -> int: ...
    @property
    def write_failed(self) -> bool: ...
    def append(self, kind: str, members: dict[str, Any], *, synced: bool = False) -> asyncio.Future[Any]: ...
    def follow_key(self) -> None: ...


class Pulse:
    """Looks every second, or every `heartbeat_s` if that is shorter, until `stop`."""

    def __init__(
        self,
        writer: Appends,
        heartbeat_s: float,
        clock_ns: Callable[[], int],
        clock: Callable[[], dict[str, Any]],
    ) -> None:
        self._writer, self._heartbeat_s, self._clock_ns, self._clock = writer, heartbeat_s, clock_ns, clock
        self._loop = asyncio.get_running_loop()
        self._every_s = min(LOOK_EVERY_S, heartbeat_s)
        self._told = _Told()
        self._offset_ns = self._offset()
        self._step_ns = 0  # of the clock, since the last heartbeat that was appended
        self._state: str = clock()["state"]  # of the clock, when it was said last
        self._seq, self._since = writer.seq, self._loop.time()
        self._beaten = self._since
        self._timer = self._loop.call_later(self._every_s, self._look)

    def refused(self, reason: str, source: str, count: int = 1) -> None:
        """Count an answer that left without a record."""
        _count(self._told.refusals, reason, source, count)

    def lost(self, reason: str, source: str, count: int = 1) -> None:
        """Count outcomes that came, or were to be written, and are not in the log."""
        _count(self._told.outcomes_lost, reason, source, count)

    def stop(self) -> None:
        """Look no more; say first what has not been said."""
        self._timer.cancel()
        if self._told or self._step_ns:
            self.beat()

    def beat(self) -> None:
        """Append a heartbeat now, with whatever there is to say. Nothing of it is lost if that fails."""
        told, self._told = self._told, _Told()
        step_ns, self._step_ns = self._step_ns, 0
        self._beaten = self._loop.time()
        try:
            said = self._writer.append("heartbeat", self._members(told, step_ns), synced=True)
        except EvidenceUnavailable:
            self._again(told, step_ns)
        else:
            said.add_done_callback(partial(self._check, told, step_ns))

    def _look(self) -> None:
        self._timer = self._loop.call_later(self._every_s, self._look)
        self._writer.follow_key()
        self._watch_clock()
        if self._writer.seq != self._seq:
            self._seq, self._since = self._writer.seq, self._loop.time()
        now = self._loop.time()
        due = now - self._since >= self._heartbeat_s or now - self._beaten >= CLOCK_EVERY_S
        changed = self._step_ns or self._clock()["state"] != self._state
        if due or changed or self._told or self._writer.write_failed:
            self.beat()

    def _watch_clock(self) -> None:
        offset = self._offset()
        if abs(offset - self._offset_ns) > STEP_NS:
            self._step_ns += offset - self._offset_ns
        self._offset_ns = offset

    def _offset(self) -> int:
        return self._clock_ns() - time.monotonic_ns()

    def _members(self, told: _Told, step_ns: int) -> dict[str, Any]:
        members: dict[str, Any] = {"size": self._writer.seq, "clock": self._clock()}
        self._state = members["clock"]["state"]
        if step_ns:
            members["clock_step_us"] = step_ns // 1000
        if told.refusals:
            members["refusals"] = _listed(told.refusals)
        if told.outcomes_lost:
            members["outcomes_lost"] = _listed(told.outcomes_lost)
        return members

    def _check(self, told: _Told, step_ns: int, said: asyncio.Future[Any]) -> None:
        if said.exception() is not None:
            self._again(told, step_ns)

    def _again(self, told: _Told, step_ns: int) -> None:
        """Say it with the next heartbeat."""
        self._step_ns += step_ns
        self._told.add(told)
