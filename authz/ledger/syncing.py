"""One thread that does nothing but make durable what it is told, one request at a time.

In: `Unsynced` from the event loop. Out: a call in the event loop when it is durable, or never will be. Owned
by the writer. What it touches besides its queue is the disk: no state of the ledger is shared, so a sync
that hangs for minutes holds up nobody but those who wait for it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import structlog

from authz.ledger.journal import Unsynced

log = structlog.get_logger(__name__)


class SyncThread:
    """`busy` from `request` until `done(what, seconds)` is called; `failed(why)` at most once, and then ends.

    `make_durable` and `mark` run on the thread: `mark(why)` leaves word on the disk that a sync failed, after
    the loop was told, since a disk that fails may take its time with that too.
    """

    def __init__(
        self,
        make_durable: Callable[[Unsynced], None],
        *,
        done: Callable[[Unsynced, float], None],
        failed: Callable[[str], None],
        mark: Callable[[str], None],
    ) -> None:
        self.busy = False
        self.ended = asyncio.Event()
        self._make_durable, self._done, self._failed, self._mark = make_durable, done, failed, mark
        self._loop = asyncio.get_running_loop()
        self._requests: SimpleQueue[Unsynced | None] = SimpleQueue()  # at most one, and the end
        # A daemon: a disk that never answers must not keep the process from ending.
        threading.Thread(target=self._run, name="ledger-sync", daemon=True).start()

    def request(self, what: Unsynced) -> None:
        """Only while not busy."""
        self.busy = True
        self._requests.put(what)

    def end(self) -> None:
        """Finish what is under way and end; `ended` is set then."""
        self._requests.put(None)

    def _run(self) -> None:
        for what in iter(self._requests.get, None):
            started = time.perf_counter()
            try:
                self._make_durable(what)
            except Exception as error:  # whatever it was, these bytes are not known to be down
                why = f"sync: {(isinstance(error, OSError) and error.strerror) or repr(error)}"
                self._tell(self._failed, why)
                self._mark(why)
                break
            self._tell(self._finished, what, time.perf_counter() - started)
        self._tell(self.ended.set)

    def _finished(self, what: Unsynced, seconds: float) -> None:
        self.busy = False
        self._done(what, seconds)

    def _tell(self, method: Callable[..., Any], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(method, *args)
        except RuntimeError:  # the loop is closed: the process is ending, and nobody waits any more
            log.warning("ledger_sync_unheard")
