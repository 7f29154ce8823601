"""Lets calls that arrive close together begin together.

A decision costs 255 us of CPU when others have used the processor's caches in between, and 100 us when it
follows another one at once (DECISIONS.md 19). Under load the answers leave together, after the sync that
covers them, so the next calls arrive together too: each waits at most `wait_s` for those behind it. That
costs little time where syncs are spaced out anyway; of calls that are alone only the first after a burst
waits.

In: the arrival of a call. Out: a future to wait for, or none. Used by `service.py` on the event loop.
"""

from __future__ import annotations

import asyncio
from typing import Final

# Calls under way with this one, or in the burst before: from so many on they wait for each other.
BUSY: Final = 8
LARGEST: Final = 256  # calls that wait for each other; more begin at once


class Bursts:
    """`wait_s`: longest wait for others, seconds; 0 lets every call begin at once."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._gathered: list[asyncio.Future[None]] = []
        self._last = 0

    def join(self, under_way: int) -> asyncio.Future[None] | None:
        """What a call that arrives now has to wait for; `under_way` others are being decided."""
        loop = asyncio.get_running_loop()
        if not self._gathered:
            if not self._wait_s or max(self._last, under_way + 1) < BUSY:
                return None
            loop.call_later(self._wait_s, self._begin)
        elif len(self._gathered) >= LARGEST:
            return None
        turn: asyncio.Future[None] = loop.create_future()
        self._gathered.append(turn)
        return turn

    def _begin(self) -> None:
        burst, self._gathered = self._gathered, []
        self._last = len(burst)
        for turn in burst:
            if not turn.done():  # its caller may have left
                turn.set_result(None)
