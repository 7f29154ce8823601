"""The one writer of one log: seals each record into the chain and answers when it is down.

In: kind and members of an entry. Out: a future of Written, done once the entry is durable as asked. Called by
the worker's event loop only; one thread does nothing but sync. It must never let an answer leave before its
bytes are written, append after a failed sync, or let a cancelled waiter take its entry back.

    append -> batch --one write a turn--> page cache --sync thread--> disk
                 bounded: answered here after sync_wait ^     synced: answered here ^
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import structlog
from msgspec import Struct

from authz.errors import EvidenceUnavailable
from authz.ledger.clock import Stamp
from authz.ledger.entry import encode
from authz.ledger.journal import SEGMENT_ENTRIES, Disk, Journal, Torn
from authz.ledger.pulse import Pulse
from authz.ledger.recovery import Epoch, mark_failed
from authz.ledger.signer import Signer

log = structlog.get_logger(__name__)

BUSY_BATCH: Final = 4  # entries a sync covered from which on syncs are spaced out


class Written(Struct, frozen=True):
    """Where an entry is. `entry_hash` is the lowercase hex RFC 6962 leaf hash."""

    log: str
    seq: int
    entry_hash: str
    timestamp: str


class _Waiter(Struct):
    seq: int
    since: float  # monotonic seconds at which its bytes were written
    synced: bool
    future: asyncio.Future[Written]
    written: Written


class Observed:
    """What the writer measures; replace the methods to see it."""

    def wrote(self, seconds: float) -> None: ...
    def synced(self, seconds: float, entries: int) -> None: ...


class LedgerWriter:
    """Appends to one epoch. Made by `ledger.open_ledger`, which has recovered the directory and locked it."""

    def __init__(
        self,
        epoch: Epoch,
        signer: Signer,
        *,
        signer_id: str,
        bounded: bool,
        sync_wait_s: float,
        sync_interval_s: float,
        heartbeat_s: float,
        disk: Disk,
        clock_ns: Callable[[], int],
        on_failure: Callable[[], None],
        quota_room: int | None,
        observed: Observed,
    ) -> None:
        self.log, self.directory = epoch.log, epoch.directory
        self.healthy = True
        self.late_syncs = 0
        self.seq, self._previous = epoch.seq, epoch.previous
        self._kept = (epoch.seq, epoch.previous)  # what the next batch starts from: nothing above is written
        self._signer, self._signer_id = signer, signer_id
        self._bounded, self._sync_wait = bounded, sync_wait_s
        self._interval = sync_interval_s
        self._stamp = Stamp(clock_ns)
        self._on_failure, self._observed = on_failure, observed
        self._room = quota_room  # bytes that decisions may still take, None for no quota
        self._loop = asyncio.get_running_loop()
        self._journal = Journal(epoch.directory / "entries", epoch.seq, disk)
        self._broken = ""
        self._batch: list[bytes] = []
        self._batch_waiters: list[_Waiter] = []
        self._waiters: deque[_Waiter] = deque()
        self._late_timer: asyncio.TimerHandle | None = None
        self._late_since = -1  # first seq answered before its sync, -1 for none
        self._late_count, self._late_longest, self._late_last = 0, 0.0, -1
        self._upto = epoch.seq  # entries written; the sync thread reads it
        self._synced_upto = epoch.seq
        self._wake = threading.Semaphore(0)
        self._stopping = False
        self._idle = asyncio.Event()
        self._thread = threading.Thread(target=self._sync_forever, name="ledger-sync", daemon=True)
        self._thread.start()
        self._pulse = Pulse(self, heartbeat_s, clock_ns)

    # -- what the worker calls

    def append(self, kind: str, members: dict[str, Any], *, synced: bool = False) -> asyncio.Future[Written]:
        """Chain, sign and batch one entry; its bytes are written in this turn of the loop.

        The future is done when the entry is synced, or with `bounded` and without `synced` when its sync takes
        longer than the bound. Raises EvidenceUnavailable, at once or through the future.
        """
        if self._broken:
            raise EvidenceUnavailable(self._broken)
        if self._room is not None and self._room <= 0 and kind == "decision":
            self.healthy = False
            raise EvidenceUnavailable("the ledger's quota is used up")
        seq, timestamp = self.seq, self._stamp.now()
        entry = encode(
            {
                **members,
                "kind": kind,
                "log": self.log,
                "seq": seq,
                "previous_entry_hash": self._previous,
                "signer_id": self._signer_id,
                "timestamp": timestamp,
            },
            self._signer,
        )
        self._previous = hashlib.sha256(b"\x00" + entry).hexdigest()
        self.seq = seq + 1
        future: asyncio.Future[Written] = self._loop.create_future()
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch += (entry, b"\n")
        if self._room is not None:
            self._room -= len(entry) + 1
        written = Written(self.log, seq, self._previous, timestamp)
        self._batch_waiters.append(_Waiter(seq, 0.0, synced, future, written))
        return future

    def count_refusal(self, reason: str, source: str) -> None:
        """Note an answer that left without a record; the next heartbeat says how many, within a second."""
        self._pulse.refused(reason, source)

    async def close(self) -> None:
        """End the epoch with a `close` entry, sync it, and let go. Safe to call on a broken ledger."""
        self._pulse.stop()
        try:
            if not self._broken:
                await self.append("close", {"size": self.seq}, synced=True)
        finally:
            self._stopping = True
            self._wake.release()
            await asyncio.to_thread(self._thread.join)
            if self._late_timer:
                self._late_timer.cancel()
            self._journal.close()

    def abandon(self, why: str) -> None:
        """Stop for good without a `close`: nothing more may be appended, nobody waiting gets a receipt."""
        if self._broken:
            return
        self._broken, self.healthy = why, False
        log.error("ledger_failed", log=self.log, why=why)
        self._fail(self._batch_waiters, why)
        self._fail(self._waiters, why)
        self._batch, self._batch_waiters = [], []
        self._waiters.clear()
        self._on_failure()

    # -- one write a turn

    def _flush(self) -> None:
        started = time.perf_counter()
        try:
            while self._batch:
                self._write_segment()
        except Torn as error:
            self.abandon(f"write: {error.strerror}")
        except OSError as error:
            self._rewind(f"write: {error.strerror}")
        else:
            self.healthy = True
            self._observed.wrote(time.perf_counter() - started)

    def _write_segment(self) -> None:
        """Write the part of the batch that belongs to the current segment."""
        seq = self._kept[0]
        count = min(len(self._batch_waiters), SEGMENT_ENTRIES - seq % SEGMENT_ENTRIES)
        self._journal.write(self._batch[: 2 * count], seq)
        waiters, self._batch_waiters = self._batch_waiters[:count], self._batch_waiters[count:]
        self._batch = self._batch[2 * count :]
        self._kept = (seq + count, waiters[-1].written.entry_hash)
        now = time.monotonic()
        for waiter in waiters:
            waiter.since = now
        self._waiters.extend(waiters)
        self._upto = seq + count
        self._wake.release()
        if self._bounded and self._late_timer is None:
            self._late_timer = self._loop.call_later(self._sync_wait, self._answer_late)

    def _rewind(self, why: str) -> None:
        """Nothing of the batch is on disk: forget it, so that the chain goes on from what is."""
        waiters, self._batch, self._batch_waiters = self._batch_waiters, [], []
        self.seq, self._previous = self._kept
        self.healthy = False
        log.error("ledger_write_failed", log=self.log, why=why)
        self._fail(waiters, why)

    @staticmethod
    def _fail(waiters: Any, why: str) -> None:
        for waiter in waiters:
            if not waiter.future.done():
                waiter.future.set_exception(EvidenceUnavailable(why))
                waiter.future.exception()  # seen: a waiter that gave up is not an unhandled error

    # -- the sync thread, and what it wakes

    def _sync_forever(self) -> None:
        done, batch = self._synced_upto, 0
        while True:
            self._wake.acquire()
            while self._wake.acquire(blocking=False):
                pass
            if batch >= BUSY_BATCH and self._interval and not self._stopping:
                time.sleep(self._interval)
            upto, started = self._upto, time.perf_counter()
            if upto > done:
                try:
                    self._journal.sync()
                except OSError as error:
                    self._report(self._sync_failed, error.strerror or str(error))
                    return
                self._report(self._synced, upto, time.perf_counter() - started)
                done, batch = upto, upto - done
            if self._stopping:
                return

    def _report(self, method: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(method, *args)
        except RuntimeError:  # the loop is closed: the process is ending, and nobody waits any more
            log.warning("ledger_sync_unheard", log=self.log)

    def _synced(self, upto: int, seconds: float) -> None:
        if self._broken:
            return
        self._observed.synced(seconds, upto - self._synced_upto)
        self._synced_upto = upto
        waiters = self._waiters
        while waiters and waiters[0].seq < upto:
            waiter = waiters.popleft()
            if not waiter.future.done():
                waiter.future.set_result(waiter.written)
        if self._late_since >= 0 and upto > self._late_last:
            self._end_late()

    def _sync_failed(self, why: str) -> None:
        mark_failed(self.directory, why)
        self.abandon(f"sync: {why}")

    # -- bounded: answered before the sync, and never silently

    def _answer_late(self) -> None:
        """Answer those whose bytes are written and whose sync takes longer than the bound."""
        self._late_timer = None
        now = time.monotonic()
        oldest = None
        late = []
        for waiter in self._waiters:
            if waiter.synced or waiter.future.done():
                continue
            if now - waiter.since + 1e-4 < self._sync_wait:
                oldest = waiter.since
                break
            late.append(waiter)
        if late:
            self._note_late(late, now)
        for waiter in late:
            waiter.future.set_result(waiter.written)
        if oldest is not None:
            wait = max(0.0, oldest + self._sync_wait - now)
            self._late_timer = self._loop.call_later(wait, self._answer_late)

    def _note_late(self, late: list[_Waiter], now: float) -> None:
        first, last = late[0].seq, late[-1].seq
        waited = now - late[0].since
        if self._late_since < 0:
            self._late_since, self._late_count, self._late_longest = first, 0, 0.0
            self.late_syncs += 1
            self.append("late_sync", {"state": "begun", "first_seq": first, "waited_us": int(waited * 1e6)})
        self._late_count += len(late)
        self._late_longest = max(self._late_longest, waited)
        self._late_last = last

    def _end_late(self) -> None:
        members = {
            "state": "ended",
            "first_seq": self._late_since,
            "last_seq": self._late_last,
            "answers": self._late_count,
            "waited_us": int(self._late_longest * 1e6),
        }
        self._late_since = -1
        self.append("late_sync", members)
