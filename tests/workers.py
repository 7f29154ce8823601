"""A worker's ledger in a scratch directory: opened as the product opens it, judged from disk as others do.

worker = Worker(tmp_path / "var")
async with worker.running() as ledger:
    await ledger.append("decision", decision(1))
worker.check()                                     our verifier and the independent one agree: whole
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from authz.config import Settings
from authz.custody import rotation
from authz.custody.rotation import Certify, Change, Purpose
from authz.followers.own_keys import OwnKeys
from authz.followers.seal import Sealer
from authz.ledger.checkpoint_store import open_to_sign
from authz.ledger.clock import Stamp
from authz.ledger.journal import Disk
from authz.ledger.keyring import Keyring, Listed
from authz.ledger.opening import open_ledger
from authz.ledger.outbox import Outbox
from authz.ledger.trust import Trust
from authz.ledger.writer import LedgerWriter, Observed
from tests import ledgers
from tests.unit.ledger import oracle

Entry = dict[str, Any]


def decision(number: int, **members: Any) -> Entry:
    """The members of a decision as the pipeline gives them."""
    whole = ledgers.decision(number) | members
    del whole["kind"]
    return whole


class Worker:
    """`worker-0` of deployment `aegis.test` below `state`, with keys. `ledger` and `follower`: settings of
    those sections.
    """

    def __init__(self, state: Path, follower: dict[str, Any] | None = None, **ledger: Any) -> None:
        self.state, self.failures = state, 0
        self._follower = follower or {}
        self.judged = False  # a test that damages the ledger, or judges it itself, says so
        (state / "keys").mkdir(parents=True, exist_ok=True)
        for name, seed in (("record", ledgers.RECORD_SEED), ("log", ledgers.LOG_SEED)):
            file = state / "keys" / f"{name}.key"
            if not file.exists():  # it may have been rotated
                file.write_text(seed.hex() + "\n")
                file.chmod(0o600)
        self.configure(**ledger)
        self.root = self.settings.ledger_directory

    def configure(self, **ledger: Any) -> None:
        """Settings of the section `ledger` for what is opened next. Everybody waits for the sync unless told
        otherwise: a busy disk would put `late_sync` entries where a test does not expect them.
        """
        ledger = {"reply_after": "synced"} | ledger
        self.settings = Settings(
            deployment="aegis.test",
            worker="worker-0",
            state=self.state,
            ledger=ledger,
            follower=self._follower,
        )

    def open(self, disk: Disk | None = None, observed: Observed | None = None, **how: Any) -> LedgerWriter:
        """`how`: more arguments of `open_ledger`."""

        def failed() -> None:
            self.failures += 1

        return open_ledger(
            self.settings, on_failure=failed, observed=observed or Observed(), disk=disk, **how
        )

    @asynccontextmanager
    async def running(self, disk: Disk | None = None, **how: Any) -> AsyncIterator[LedgerWriter]:
        """Opened, and closed at the end."""
        writer = self.open(disk, **how)
        try:
            yield writer
        finally:
            await writer.close()

    @asynccontextmanager
    async def doomed(self, disk: Disk | None = None, **how: Any) -> AsyncIterator[LedgerWriter]:
        """Opened, and killed at the end: its bytes are left, no `close`, and a lock that nobody holds."""
        writer = self.open(disk, **how)
        try:
            yield writer
        finally:
            await kill(writer)

    @property
    def epochs(self) -> list[Path]:
        return oracle.epochs(self.root)

    def segment(self, epoch: int = -1) -> Path:
        """The newest segment of an epoch."""
        return sorted((self.epochs[epoch] / "entries").glob("*.jsonl"))[-1]

    def history(self) -> list[list[Entry]]:
        """Every entry of every epoch, read by the oracle."""
        return oracle.history(self.root, *self.trust().record_keys)

    def trust(self) -> Trust:
        """What pins every key that there ever was."""
        record = tuple(key.public for key in self.ring("record").listed())
        log = tuple(key.public for key in self.ring("log").listed())
        return Trust({f"{ledgers.WORKER}/": log}, record)

    def ring(self, purpose: Purpose) -> Keyring:
        ledger = self.settings.ledger
        return Keyring(self.settings.path(ledger.record_key if purpose == "record" else ledger.log_key))

    def rotate(self, purpose: Purpose, overlap_until: str = "", certify: Certify | None = None) -> Listed:
        """What `aegis keys rotate` does."""
        with self._change() as change:
            return rotation.rotate(self.ring(purpose), purpose, change, overlap_until, certify)

    def revoke(self, purpose: Purpose, key_id: str) -> None:
        """What `aegis keys revoke` does."""
        with self._change() as change:
            rotation.revoke(self.ring(purpose), purpose, key_id, change.at, change)

    @contextmanager
    def _change(self) -> Iterator[Change]:
        with Outbox(self.settings.outbox) as outbox:
            yield Change("test", Stamp(time.time_ns).now(), "for a test", outbox.put)

    def check(self) -> list[list[Entry]]:
        """Our verifier and the oracle find the ledger whole; the oracle's `history`."""
        report = ledgers.check(self.root, pinned=self.trust())
        assert report.verified, report.first_fault
        return self.history()

    def kinds(self, epoch: int = -1) -> list[str]:
        return [entry["kind"] for entry in self.check()[epoch]]

    def seal(self) -> None:
        """One round of a follower of its own."""
        store = open_to_sign(self.settings)
        sealer = Sealer(self.root.parent, self.settings.deployment, store, OwnKeys.of(self.settings))
        try:
            sealer.round()
        finally:
            sealer.close()
            store.close()


async def grow(ledger: LedgerWriter, entries: int, at_once: int = 512) -> None:
    """Append decisions until the log has so many entries, or a few more."""

    async def client() -> None:
        while ledger.seq < entries:
            await ledger.append("decision", decision(ledger.seq))

    await asyncio.gather(*(client() for _ in range(at_once)))


def flip(segment: Path, place: int) -> None:
    """Change one bit in entry number `place` of a segment."""
    lines = segment.read_bytes().split(b"\n")
    lines[place] = lines[place].replace(b"aegis.test", b"aegis.tesu", 1)
    segment.write_bytes(b"\n".join(lines))


async def kill(writer: LedgerWriter) -> None:
    """What SIGKILL does, as far as one process can do it to a part of itself."""
    writer._pulse._timer.cancel()
    writer._waiters.stop()
    for timer in (writer._sync_timer, writer._note_timer):
        if timer:
            timer.cancel()
    writer._sync.end()
    await writer._sync.ended.wait()
    writer._journal.close()
    writer._release()
