"""The one writer of one log: seals each record into the chain and answers when it is down.

In: kind and members of an entry. Out: a future of Written, done once the entry is durable as asked. Called by
the worker's event loop only. It must never let an answer leave before its bytes are written, append after a
failed sync, or let a cancelled waiter take its entry back.

    append -> batch --one write a turn--> page cache --sync thread--> disk
                 bounded: answered here after sync_wait ^     synced: answered here ^

A write that fails takes back what nobody has read and refuses its waiters; the next one may succeed. A sync
that fails, or an unfinished line that stays, ends the ledger for this process: recovery has the next word.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from msgspec import Struct

from authz.errors import EvidenceUnavailable
from authz.ledger.chain import Chain, Written
from authz.ledger.disclosures.writer import DisclosureWriter
from authz.ledger.handing_over import HandingOver
from authz.ledger.journal import Journal, Torn, Unsynced
from authz.ledger.merkle import leaf_hash
from authz.ledger.pulse import Pulse
from authz.ledger.signer import Signer
from authz.ledger.syncing import SyncThread
from authz.ledger.waiters import Lateness, Waiters

log = structlog.get_logger(__name__)

BUSY_BATCH: Final = 4  # entries a sync covered from which on the next one is put off by the interval
TIMER_GRAIN_S: Final = 0.001  # of uvloop, which rounds: without a half less, 1.5 ms became 3 under load
NOTE_SYNC_S: Final = 1.0  # in which what nobody waits for is synced, if nothing else is
CLOSE_WAIT_S: Final = 10.0  # what a shutdown waits for a disk that does not answer
RESERVED: Final = 4 << 20  # bytes of the quota that decisions leave to heartbeats, late_sync and recovery
CLOSE_RESERVED: Final = 64 << 10  # and those leave to `close`
QUOTA_BOUND: Final = ("decision", "outcome")  # kinds whose number others choose


class Observed:
    """What the writer measures, in seconds and entries; replace the methods to see it."""

    def wrote(self, seconds: float) -> None: ...
    def synced(self, seconds: float, entries: int) -> None: ...


class Pace(Struct, frozen=True):
    """`bound_s`: how long a waiter waits for a slow sync (None: always), `interval_s`: between syncs at load,
    `heartbeat_s`: without an entry.
    """

    bound_s: float | None
    interval_s: float
    heartbeat_s: float


class LedgerWriter:
    """Appends to one epoch. Made by `opening.open_ledger`, which has recovered the directory and locked it.

    `room`: bytes that this epoch may still take, None for no quota. `mark_failed(why)` leaves word on disk,
    `release()` the lock; `on_failure()` is called once, when nothing can be appended any more. `newer_key()`
    is asked each second: the record key to hand over to, or None.
    """

    def __init__(
        self,
        chain: Chain,
        journal: Journal,
        pace: Pace,
        *,
        room: int | None,
        clock_ns: Callable[[], int],
        clock: Callable[[], dict[str, Any]],
        observed: Observed,
        mark_failed: Callable[[str], None],
        on_failure: Callable[[], None],
        release: Callable[[], None],
        disclosures: DisclosureWriter | None = None,
        newer_key: Callable[[], Signer | None] = lambda: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._chain, self._journal, self._interval_s = chain, journal, pace.interval_s
        self._kept = chain.previous  # hash of the last entry that is written
        self._batch: list[bytes] = []
        self._room, self._observed = room, observed
        self._on_failure, self._release = on_failure, release
        self.disclosures = disclosures
        self.notes_lost = 0  # entries of `note` that could not be written
        self._refusing = ""  # why nothing is appended any more
        self._failed = False
        self._write_fault = ""  # of the last write
        self._handing_over = HandingOver(chain, newer_key, self._say)
        self._lateness = Lateness(self._say)
        self._waiters = Waiters(pace.bound_s, self._lateness)
        self._synced_upto = self._wanted_upto = journal.seq  # what is durable, and what is to be
        self._awaited = False  # whether somebody waits for an entry of the batch
        self._note_timer: asyncio.TimerHandle | None = None
        self._not_before = 0.0  # monotonic seconds of the next sync
        self._sync_timer: asyncio.TimerHandle | None = None
        self._sync = SyncThread(
            journal.make_durable, done=self._synced, failed=self._abandon, mark=mark_failed
        )
        self._pulse = Pulse(self, pace.heartbeat_s, clock_ns, clock)

    # -- what the worker calls

    @property
    def log(self) -> str:
        return self._chain.log

    @property
    def seq(self) -> int:
        """The next entry's place."""
        return self._chain.seq

    @property
    def healthy(self) -> bool:
        """Whether a decision can be expected to get down."""
        full = self._room is not None and self._room <= RESERVED
        return self._chain.certified and not (self._refusing or self._write_fault or full)

    @property
    def write_failed(self) -> bool:
        """Whether the last write failed; the next one may succeed."""
        return bool(self._write_fault)

    @property
    def late_syncs(self) -> int:
        """Times that answers began to leave before their sync."""
        return self._lateness.begun

    def append(
        self, kind: str, members: dict[str, Any], *, synced: bool = False, disclosures: tuple[str, ...] = ()
    ) -> asyncio.Future[Written]:
        """Chain, sign and batch one entry; its bytes are written in this turn of the loop.

        The future is done when the entry is synced, or if there is a bound and not `synced`, when its sync
        takes longer than that. Raises EvidenceUnavailable, at once or through the future; ValueError if these
        members fit no entry.
        """
        written = self._seal(kind, members)
        if disclosures and self.disclosures:
            self.disclosures.add(written.seq, members["decision_id"], disclosures)
        self._awaited = True
        return self._waiters.add(written, synced=synced)

    def note(self, kind: str, members: dict[str, Any]) -> Written:
        """Like `append` for an entry that nobody waits for: it is synced with others, or within a second.

        If its bytes cannot be written, the next heartbeat counts it among `outcomes_lost`.
        """
        return self._seal(kind, members)

    def count_lost(self, reason: str, source: str, count: int) -> None:
        """Outcomes that came and were not noted; the next heartbeat says how many, within a second."""
        self._pulse.lost(reason, source, count)

    def follow_key(self) -> None:
        """Hand over to a newer record key, if there is one: called each second."""
        if not self._refusing:
            self._handing_over.look()

    def count_refusal(self, reason: str, source: str) -> None:
        """Note an answer that left without a record; the next heartbeat says how many, within a second."""
        self._pulse.refused(reason, source)

    async def close(self, wait_s: float = CLOSE_WAIT_S) -> None:
        """End the epoch with a `close` entry, sync it, and let go. Safe on a ledger that failed.

        A disk that does not answer is left alone after `wait_s`: then the entry is written, but not known to
        be durable.
        """
        self._pulse.stop()
        try:
            if not self._refusing:
                await self._say_close(wait_s)
            await self._end_sync(wait_s)
        finally:
            self._waiters.stop()
            self._waiters.fail_all("the ledger is closed")
            self._release()

    async def _say_close(self, wait_s: float) -> None:
        self._lateness.end()
        try:
            closing = self.append("close", {"size": self.seq}, synced=True)
        except EvidenceUnavailable as error:  # the next start finds a log that was not closed, and says so
            log.error("ledger_not_closed", log=self.log, why=str(error))  # noqa: TRY400 - why is in the text
            return
        finally:
            self._refusing = "the ledger is closed"
        await asyncio.wait([closing], timeout=wait_s)

    async def _end_sync(self, wait_s: float) -> None:
        for timer in (self._sync_timer, self._note_timer):
            if timer:
                timer.cancel()
        self._sync.end()
        try:
            await asyncio.wait_for(self._sync.ended.wait(), wait_s)
        except TimeoutError:  # the thread may still use the files: they are left open
            log.exception("ledger_sync_hangs", log=self.log)
        else:
            self._journal.close()
            if self.disclosures:
                self.disclosures.close()

    # -- one write a turn

    def _seal(self, kind: str, members: dict[str, Any]) -> Written:
        if self._refusing:
            raise EvidenceUnavailable(self._refusing)
        if self._room is not None:
            self._check_room(kind)
        entry, written = self._chain.seal(kind, members)
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch.append(entry)
        if self._room is not None:
            self._room -= len(entry) + 1
        return written

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if not batch:  # the ledger failed in this turn
            return
        before, started, fault = self._journal.seq, time.perf_counter(), None
        try:
            self._journal.write(batch)
        except OSError as error:
            fault = error
        except Exception as error:  # ours: the chain and the disk may have parted
            self._abandon(f"write: {error!r}")
            raise
        upto = self._journal.seq
        if upto > before:
            self._kept = self._chain.previous if fault is None else leaf_hash(batch[upto - before - 1]).hex()
            self._waiters.wrote(upto)
            self._want_sync(upto)
        if fault is None:
            self._write_fault = ""
            self._observed.wrote(time.perf_counter() - started)
        else:
            self._write_failed(fault, batch[upto - before :])
        if self.disclosures:
            took = self.disclosures.write(self._journal.seq)
            self._room = None if self._room is None else self._room - took

    def _write_failed(self, fault: OSError, lost: list[bytes]) -> None:
        """Nothing of the `lost` entries is on disk: forget them, so that the chain goes on from what is."""
        why = self._write_fault = f"write: {fault.strerror or fault}"
        if isinstance(fault, Torn):
            self._abandon(why)
            return
        log.error("ledger_write_failed", log=self.log, why=why)
        self._chain.rewind(self._journal.seq, self._kept)
        if self._room is not None:
            self._room += sum(map(len, lost)) + len(lost)
        noted = len(lost) - self._waiters.fail_unwritten(why)
        if noted:
            self.notes_lost += noted
            self._pulse.lost("not_written", self._chain.log.split("/")[1], noted)

    def _check_room(self, kind: str) -> None:
        reserved = RESERVED if kind in QUOTA_BOUND else CLOSE_RESERVED if kind != "close" else 0
        if self._room is not None and self._room <= reserved:
            raise EvidenceUnavailable("the ledger's quota is used up")

    def _say(self, kind: str, members: dict[str, Any]) -> asyncio.Future[Written]:
        return self.append(kind, members, synced=True)

    # -- syncs: at once when there is little to do, spaced out at load

    def _want_sync(self, upto: int) -> None:
        """Of what was just written, before `upto`."""
        if self._awaited:
            self._awaited, self._wanted_upto = False, upto
            self._ask_for_sync()
        elif self._note_timer is None:
            self._note_timer = self._loop.call_later(NOTE_SYNC_S, self._sync_notes)

    def _sync_notes(self) -> None:
        self._note_timer, self._wanted_upto = None, self._journal.seq
        self._ask_for_sync()

    def _ask_for_sync(self) -> None:
        if self._sync.busy or self._sync_timer or self._wanted_upto <= self._synced_upto:
            return
        wait_s = self._not_before - time.monotonic() - TIMER_GRAIN_S / 2
        if wait_s > 0 and not self._refusing:
            self._sync_timer = self._loop.call_later(wait_s, self._start_sync)
        else:
            self._start_sync()

    def _start_sync(self) -> None:
        self._sync_timer = None
        self._sync.request(self._journal.unsynced())

    def _synced(self, what: Unsynced, seconds: float) -> None:
        entries = what.upto - self._synced_upto
        self._synced_upto = what.upto
        self._journal.synced(what)
        self._observed.synced(seconds, entries)
        if entries >= BUSY_BATCH:
            self._not_before = time.monotonic() + self._interval_s
        self._waiters.synced(what.upto)
        self._ask_for_sync()

    def _abandon(self, why: str) -> None:
        """Stop for good without a `close`: nothing more may be appended, nobody waiting gets a receipt."""
        if self._failed:
            return
        log.error("ledger_failed", log=self.log, why=why)
        self._failed, self._refusing = True, why
        self._batch = []
        self._pulse.stop()
        self._waiters.fail_all(why)
        self._on_failure()
