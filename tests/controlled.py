"""A control task in a process of its own, for tests that kill it: `python -m tests.controlled STATE`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from tests.controls import running
from tests.workers import Worker


async def live(state: Path) -> None:
    """Until somebody kills it."""
    async with running(Worker(state), heads_s=0.01) as control:
        while True:
            control.sealer.round()
            control.ring()
            await asyncio.sleep(0.001)


if __name__ == "__main__":
    uvloop.run(live(Path(sys.argv[1])))
