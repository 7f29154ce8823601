"""Rings when entries have become durable, for whoever waits for more; it carries nothing.

Rung by the sealing task after each round; heard by the record stream and the exporters. Who was busy when it
rang has to look before waiting again, so that nothing depends on having heard it.
"""

from __future__ import annotations

import asyncio
from typing import Final

LONGEST_WAIT_S: Final = 1.0  # then everybody looks anyway


class Bell:
    """In one event loop."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()

    async def heard(self, stop: asyncio.Event) -> None:
        """Returns at the next ring, when `stop` is set, or after LONGEST_WAIT_S."""
        waits = [asyncio.create_task(event.wait()) for event in (self._rung, stop)]
        try:
            await asyncio.wait(waits, timeout=LONGEST_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
