"""What every destination is to the runner: it takes a batch, refuses it, or cannot be had now.

    deliver() returns        every entry is durable there, or the receiver has acknowledged it
    raises Refused           sent again it would be refused again: for one entry, a dead letter
    raises Unavailable       try again later; nothing may be skipped

Called by the runner only, one batch after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from authz.followers.reading import Taken


class Refused(Exception):
    """The receiver will never take this batch as it is."""


class Unavailable(Exception):
    """Not now. `after_s`: seconds the receiver asked to wait, 0 where it said nothing."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


class Destination(Protocol):
    """`name` is a directory's name and a metric's label; `entries` and `size` bound a batch (bytes)."""

    name: str
    entries: int
    size: int

    async def deliver(self, worker: str, batch: Sequence[Taken]) -> None: ...

    async def close(self) -> None: ...
