"""One worker's durable entries from a position on, through its epochs in order; for one client of the
stream.

In: a worker's name, the log and number of the first entry that is wanted. Out: batches of Taken, empty when
there is nothing more yet. Called on threads, one call at a time. It knows nothing of gRPC.
"""

from __future__ import annotations

from typing import Final

from authz.followers import reading
from authz.followers.durable import Durable, Extent
from authz.followers.reading import Position, Taken

BATCH_ENTRIES: Final = 256  # read at once for one client
BATCH_BYTES: Final = 256 << 10


class NotHere(Exception):
    """There is no such worker or log."""


class Ahead(Exception):
    """The position lies behind what the ledger holds."""


class Feed:
    """Made once for each client. Raises NotHere, Ahead, OSError, and IntegrityViolation whenever it reads."""

    def __init__(self, durable: Durable, worker: str, log: str, seq: int) -> None:
        """From the worker's first entry if `log` is ""."""
        self._durable, self._worker = durable, worker
        extents = self._extents()
        if not extents:
            raise NotHere(f"no worker {worker!r} has a log here")
        here = {extent.log: extent for extent in extents}
        extent = here.get(log) if log else extents[0]
        if extent is None:
            raise NotHere(f"worker {worker!r} has no such log here")
        if seq > extent.size:
            raise Ahead(f"{extent.log} has {extent.size} durable entries")
        self._log, self._at = extent.log, reading.locate(extent.directory, seq)

    def next(self) -> list[Taken]:
        """The entries behind the last ones; none if there are no more yet."""
        for extent in self._extents():
            if extent.log == self._log:
                if self._at.size < extent.size:
                    return self._take(extent)
                if not extent.whole:
                    return []
            elif extent.log > self._log:
                self._log, self._at = extent.log, Position()
                if extent.size:
                    return self._take(extent)
                if not extent.whole:
                    return []
        return []

    def _take(self, extent: Extent) -> list[Taken]:
        taken = reading.take(
            extent.directory, extent.log, self._at, extent.size, entries=BATCH_ENTRIES, size=BATCH_BYTES
        )
        self._at = taken[-1].after
        return taken

    def _extents(self) -> list[Extent]:
        return [extent for extent in self._durable.extents() if extent.worker == self._worker]
