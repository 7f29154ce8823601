"""Opens a worker's ledger: keys, lock, recovery, the first entries; then it can be written to.

    keys -> single-writer lock -> what is on disk, against what was ever signed -> epoch -> `open`/`gap` or
    `recovery`, synced -> LedgerWriter

In: the settings. Out: a LedgerWriter whose `close` also lets go of the lock. Called once by `app.py`, before
anything is served. Whatever is wrong ends here, in an error that names the file or directory.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import rfc8785
import structlog

from authz import __version__
from authz.config import Settings
from authz.errors import EvidenceUnavailable, KeyUnusable
from authz.ledger import files, keys, machine, notes
from authz.ledger.chain import Chain
from authz.ledger.checkpoint_store import open_store
from authz.ledger.checkpoints import Checkpoints
from authz.ledger.clock import epoch_name
from authz.ledger.disclosures.vault import vault_of
from authz.ledger.disclosures.writer import DisclosureWriter
from authz.ledger.held import Seal
from authz.ledger.journal import Disk, Journal
from authz.ledger.kernel_clock import kernel_clock
from authz.ledger.keyring import Keyring
from authz.ledger.lock import Lock
from authz.ledger.record_keys import RecordKeys
from authz.ledger.recovery import Epoch, Facts, Recovery, is_epoch, mark_failed
from authz.ledger.unread import Unread
from authz.ledger.writer import RESERVED, LedgerWriter, Observed, Pace

log = structlog.get_logger(__name__)


class Outside(Protocol):
    """Who else keeps checkpoints of this worker's logs; asked at a start, as far as they answer in time. What
    they say counts if one of the log keys `publics` signed it.
    """

    def beyond(self, log: str, size: int, publics: Sequence[bytes]) -> list[Seal]:
        """What was signed for `log` beyond `size`."""
        ...

    def newer(self, prefix: str, after: str, publics: Sequence[bytes]) -> list[str]:
        """The logs with this prefix whose names sort behind `after`."""
        ...


def open_ledger(
    settings: Settings,
    *,
    on_failure: Callable[[], None],
    observed: Observed,
    disk: Disk | None = None,
    clock_ns: Callable[[], int] = time.time_ns,
    clock: Callable[[], dict[str, Any]] = kernel_clock,
    boot_id: Callable[[], str] = machine.boot_id,
    random: Callable[[int], bytes] = os.urandom,
    accept_damage: bool = False,
    outside: Outside | None = None,
    leave: Callable[[Unread], None] | None = None,
) -> LedgerWriter:
    """In a running event loop, which waits while the disk is read. `on_failure` is called once, if nothing
    can be appended any more. What was seen `outside` and is not here means that the disk was rolled back.
    With `leave` only what no tiles under a checkpoint stand for is read, and it is told what is left to read
    (`scrub.py`); otherwise all is.

    Raises KeyUnusable, LedgerLocked, IntegrityViolation (damage below a checkpoint, unless `accept_damage`),
    or EvidenceUnavailable for everything else that keeps entries from getting down.
    """
    opening = _Opening(settings, disk or Disk(), clock_ns, clock, outside)
    root = settings.ledger_directory
    try:
        opening.make_directories()
        lock = Lock(root / "lock", f"{root}: another process writes this ledger")
        try:
            room = opening.room()
            epoch = opening.recover(boot_id(), random, accept_damage=accept_damage, leave=leave)
            return opening.writer(epoch, room, observed, on_failure, lock.release)
        except BaseException:
            lock.release()
            raise
    except OSError as error:
        raise EvidenceUnavailable(f"{error.filename or root}: {error.strerror or error}") from None


class _Opening:
    """The steps of `open_ledger`, in the order of its methods. They raise OSError too."""

    def __init__(
        self,
        settings: Settings,
        disk: Disk,
        clock_ns: Callable[[], int],
        clock: Callable[[], dict[str, Any]],
        outside: Outside | None,
    ) -> None:
        self._settings, self._disk, self._outside = settings, disk, outside
        self._clock_ns, self._clock = clock_ns, clock
        self._root = settings.ledger_directory
        self._origin = f"{settings.deployment}/{settings.worker}"
        self._keys = RecordKeys(Keyring(settings.path(settings.ledger.record_key)))
        log_ring = Keyring(settings.path(settings.ledger.log_key))
        self._log_key = keys.public_key(log_ring.seed())
        self._log_keys = [key.public for key in log_ring.listed()]

    def make_directories(self) -> None:
        """`<state>/ledger/<worker>`. The state directory has to be there: it may be a volume not mounted."""
        for path in (self._root.parent, self._root):
            if not path.is_dir():
                self._disk.make_directory(path)
                self._disk.sync_directory(path.parent)

    def room(self) -> int | None:
        """Bytes that the quota leaves now, None without one. What others write later is not counted."""
        ledgers, quota = self._root.parent, self._settings.ledger.quota_bytes
        if not quota:
            return None
        used = sum(path.lstat().st_size for path in ledgers.rglob("*") if not path.is_dir())
        if quota - used <= RESERVED:
            raise EvidenceUnavailable(
                f"{ledgers} holds {used} bytes: ledger.quota_bytes of {quota} leaves decisions no room above "
                f"the {RESERVED} kept for heartbeats and closing"
            )
        return quota - used

    def recover(
        self,
        boot_id: str,
        random: Callable[[int], bytes],
        *,
        accept_damage: bool,
        leave: Callable[[Unread], None] | None,
    ) -> Epoch:
        store = open_store(self._settings, read_only=True)
        facts = Facts(
            boot_id=boot_id,
            directory_id=machine.directory_id,
            seals=partial(self._seals, store),
            known_logs=cache(partial(self._known_logs, store)),
            opening=self._members,
            public=self._keys.current.public,
            lists=self._keys.lists,
            holds=lambda public: self._keys.holder(public) is not None,
            log_vkeys=lambda log: [keys.vkey(log, public) for public in self._log_keys],
            new_epoch=lambda after: epoch_name(self._clock_ns(), random(8), after),
            key_of=self._keys.by_kid if leave else None,
        )
        try:
            recovery = Recovery(self._root, self._origin, facts, self._disk, accept_damage=accept_damage)
            epoch = recovery.epoch()
            if leave:
                for unread in recovery.unread:
                    leave(unread)
            return epoch
        finally:
            if store:
                store.close()

    def writer(
        self,
        epoch: Epoch,
        room: int | None,
        observed: Observed,
        on_failure: Callable[[], None],
        release: Callable[[], None],
    ) -> LedgerWriter:
        """Write and sync the epoch's first entries, then hand over."""
        ledger = self._settings.ledger
        signer = self._keys.holder(epoch.public)
        if signer is None:  # recovery goes on under no other
            raise KeyUnusable(f"{epoch.log}: its record key is not here")
        chain = Chain(
            epoch.log,
            epoch.seq,
            epoch.previous,
            signer=signer,
            signer_id=self._origin,
            clock_ns=self._clock_ns,
        )
        pace = Pace(
            bound_s=ledger.sync_wait_ms / 1000 if ledger.reply_after == "bounded" else None,
            interval_s=ledger.sync_interval_ms / 1000,
            heartbeat_s=ledger.heartbeat_s,
        )
        return LedgerWriter(
            chain,
            self._begun(epoch, chain),
            pace,
            room=room,
            clock_ns=self._clock_ns,
            clock=self._clock,
            observed=observed,
            mark_failed=partial(_mark, epoch.directory, self._disk),
            on_failure=on_failure,
            release=release,
            disclosures=self._disclosures(epoch),
            newer_key=self._keys.newer,
        )

    def _disclosures(self, epoch: Epoch) -> DisclosureWriter | None:
        if not self._settings.disclosures.wanted:
            return None
        return DisclosureWriter(epoch.directory, epoch.log, vault_of(self._settings, make=True))

    def _begun(self, epoch: Epoch, chain: Chain) -> Journal:
        journal = Journal(epoch.directory / "entries", epoch.seq, self._disk)
        try:
            journal.write([*self._first(epoch, chain)])
            first = journal.unsynced()
            journal.make_durable(first)
            journal.synced(first)
        except BaseException:
            journal.close()
            raise
        return journal

    def _first(self, epoch: Epoch, chain: Chain) -> Iterator[bytes]:
        """The epoch's first entries; if it would go on by the key of before, then first that this one hands
        over: its certificate may have run out meanwhile.
        """
        if chain.signer is not self._keys.current:
            yield chain.seal("key", chain.last_words(self._keys.current))[0]
            chain.turn_to(self._keys.current)
        for kind, members in epoch.first:
            yield chain.seal(kind, members)[0]

    def _members(self, log: str) -> dict[str, Any]:
        """What an `open` entry says of this worker."""
        settings = rfc8785.dumps(self._settings.model_dump(mode="json"))
        return {
            "clock": self._clock(),
            "config_sha256": hashlib.sha256(settings).hexdigest(),
            "log_vkey": keys.vkey(log, self._log_key),
            "record_keys": [self._keys.current.public_jwk],
            "version": __version__,
        } | ({"certificate": self._keys.current.certificate} if self._keys.current.certificate else {})

    def _seals(self, store: Checkpoints | None, log: str, directory: Path) -> list[Seal]:
        """What was ever signed for `log`, as far as this machine knows. A note that is not ours says
        nothing here; the verifier judges it.
        """
        stored = store.latest(log) if store else None
        seals = [stored] if stored else []
        note, _ = files.checkpoint(directory)
        if note is not None:
            with suppress(ValueError):
                checkpoint = notes.parse(note)
                if checkpoint.log == log and notes.signed_by(checkpoint, *self._log_keys):
                    seals.append((checkpoint.size, checkpoint.root))
        if self._outside:
            known = max((size for size, _ in seals), default=0)
            seals += self._outside.beyond(log, known, self._log_keys)
        return seals

    def _known_logs(self, store: Checkpoints | None) -> list[str]:
        """This worker's logs for which a checkpoint was ever signed, oldest first."""
        prefix = f"{self._origin}/"
        logs = store.logs(prefix) if store else []
        if self._outside:
            here = (prefix + path.name for path in self._root.iterdir() if is_epoch(path))
            logs += self._outside.newer(prefix, max([*logs, *here], default=prefix), self._log_keys)
        return logs


def _mark(directory: Path, disk: Disk, why: str) -> None:
    try:
        mark_failed(directory, why, disk)
    except OSError as error:  # the next start reads the disk and not the cache, so it may still notice
        log.exception("ledger_failure_not_marked", why=why, error=error.strerror)
