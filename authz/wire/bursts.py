"""Lets calls that arrive close together begin together, and waits the longer for them the busier the loop is.

The first decision of a burst finds the processor's caches full of what others did meanwhile; those that
follow it at once cost a fraction (DECISIONS.md 19). A loop with time to spare lets every call begin as it
comes. One that is short of time gains more by gathering than the calls lose: each waits up to `wait_s`.

In: the arrival of a call. Out: a future to wait for, or none. Used by `service.py` on the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

IDLE: Final = 0.3  # part of the time that the loop's thread computes: up to here nobody waits
FULL: Final = 0.7  # from here on everybody waits `wait_s`; in between it grows evenly
LOOK_S: Final = 0.05  # the part is measured over so long, and averaged with the one before
SHORTEST_S: Final = 0.0005  # a timer is no finer: for less nobody waits
LARGEST: Final = 256  # calls that wait for each other; more begin at once


class Bursts:
    """`wait_s`: longest wait for others, seconds; 0 lets every call begin at once. `computed` is CPU time of
    the loop's thread, `clock` time that passes, both in seconds.
    """

    def __init__(
        self,
        wait_s: float,
        computed: Callable[[], float] = time.thread_time,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._longest_s = wait_s
        self._computed, self._clock = computed, clock
        self._gathered: list[asyncio.Future[None]] = []
        self._looked_at, self._used = clock(), computed()
        self._busy = self._wait_s = 0.0

    def join(self) -> asyncio.Future[None] | None:
        """What a call that arrives now has to wait for."""
        if not self._gathered:
            wait_s = self.wait_s()
            if wait_s < SHORTEST_S:
                return None
            asyncio.get_running_loop().call_later(wait_s, self._begin)
        elif len(self._gathered) >= LARGEST:
            return None
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gathered.append(turn)
        return turn

    def wait_s(self) -> float:
        """How long a first call waits for others now, seconds."""
        now = self._clock()
        passed = now - self._looked_at
        if passed >= LOOK_S:
            used = self._computed()
            part = (used - self._used) / passed
            self._busy = (self._busy + part) / 2 if passed < 2 * LOOK_S else part
            self._looked_at, self._used = now, used
            self._wait_s = self._longest_s * min(1.0, max(0.0, (self._busy - IDLE) / (FULL - IDLE)))
        return self._wait_s

    def _begin(self) -> None:
        burst, self._gathered = self._gathered, []
        for turn in burst:
            if not turn.done():  # its caller may have left
                turn.set_result(None)
