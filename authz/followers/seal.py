"""Seals what workers have written: reads it back, syncs it, and only then signs a checkpoint over it.

    each epoch: read new lines -> check, also the last one's attestation -> fdatasync -> compare-and-swap in
    the store -> sign -> `checkpoint`

In: the ledgers below `<state>/ledger`, the deployment's keys, the checkpoint store. Out: each epoch's
`checkpoint`, a signed note. Called by the follower's process, one `round` after another. It must never sign
two inconsistent checkpoints, nor over what it has not read: an IntegrityViolation ends the follower, and
nothing is repaired.

An epoch that is not the newest of its worker is final: it is sealed to its end once and not read again. If it
is damaged or rolled back, that is a violation unless the `gap` of a later epoch owns up to it. An epoch in
which a sync failed is never sealed any further: a fault of every round until its worker has begun a new one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from authz.errors import EvidenceUnavailable, IntegrityViolation, KeyUnusable
from authz.followers.own_keys import OwnKeys
from authz.followers.places import Place, checkpoint_of, find, pruned_to
from authz.followers.tail import SyncFailed, Tail
from authz.followers.tile_writer import TileWriter
from authz.ledger import files, notes, reader
from authz.ledger.checkpoints import Checkpoints
from authz.ledger.epochs import read_opening
from authz.ledger.journal import FAILED, Disk
from authz.ledger.recovery import is_epoch, mark_failed

log = structlog.get_logger(__name__)

NOTE: Final = "checkpoint"


class Sealer:
    """`round` blocks: run it on a thread, never twice at the same time. The numbers are for metrics.

    `unsealed`: entries that were read and are not under a checkpoint; `sealed`: checkpoints signed; `broken`:
    epochs that are damaged or cut short, as a later `gap` says, or in which a sync failed: they will never be
    sealed whole.
    """

    def __init__(
        self, ledgers: Path, deployment: str, store: Checkpoints, keys: OwnKeys, disk: Disk | None = None
    ) -> None:
        self._ledgers, self._deployment, self._store, self._keys = ledgers, deployment, store, keys
        self._disk = disk or Disk()
        self._open: dict[Path, _Epoch] = {}
        self._settled: set[Path] = set()
        self._failed: dict[Path, str] = {}  # where a sync failed, and why, also if no mark could be left
        self.sealed = self.broken = 0

    @property
    def unsealed(self) -> int:
        return sum(epoch.unsealed for epoch in list(self._open.values()))

    def settled(self, directory: Path) -> bool:
        """Whether this epoch will not be sealed any further."""
        return directory in self._settled

    def round(self) -> None:
        """Seal whatever is new. Raises IntegrityViolation; EvidenceUnavailable or OSError where something
        cannot be read, synced or written, after the other epochs had their turn. Nothing was signed then that
        is not in the store.
        """
        unwell: OSError | EvidenceUnavailable | None = None
        self._refresh_keys()
        places = list(find(self._ledgers, self._deployment))
        self._check_gone({place.directory for place in places})
        for place in places:
            if place.directory in self._settled:
                continue
            try:
                self._seal(place)
            except IntegrityViolation as violation:
                if not owned_up(place):
                    raise
                log.error("epoch_broken", log=place.log, what=str(violation))  # noqa: TRY400 - known already
                self.broken += 1
                self._settle(place)
            except (OSError, EvidenceUnavailable) as error:
                unwell = unwell or error
        if unwell:
            raise unwell

    def close(self) -> None:
        for epoch in self._open.values():
            epoch.tail.close()
        self._open.clear()

    def _refresh_keys(self) -> None:
        try:
            self._keys.refresh()
        except KeyUnusable as error:
            raise EvidenceUnavailable(str(error)) from None

    def _check_gone(self, there: set[Path]) -> None:
        for directory in self._open.keys() - there:
            if self._open[directory].tail.size:
                raise IntegrityViolation("the epoch is gone while it was followed", file=str(directory))
            del self._open[directory]  # its worker was killed before the first entry, and took it back

    def _seal(self, place: Place) -> None:
        epoch = self._open.get(place.directory)
        if epoch is None:
            stored, note = self._store.latest(place.log), self._note(place)
            if place.final and stored and note == stored and _end(place.directory) == stored[0]:
                self._settled.add(place.directory)  # sealed to its end by an earlier process
                return
            epoch = self._open[place.directory] = _Epoch(place, stored, note, self._keys.believes)
        marked = os.path.lexists(place.directory / FAILED)
        if marked or place.directory in self._failed:
            self._fail(place, "marked on disk", marked=marked)
            self._leave_unsealed(place, epoch)
            return
        try:
            epoch.tail.advance()
            epoch.tail.check_signed()
            epoch.tail.check_attested()
            if epoch.wants_seal:
                self._sign(epoch)
        except SyncFailed as error:
            self._fail(place, f"follower's sync: {error.strerror}", marked=False)
            raise
        if place.final:
            self._settle(place)

    def _fail(self, place: Place, why: str, *, marked: bool) -> None:
        """A sync failed here: from now on one that succeeds proves nothing, whether or not that can be
        `marked` on the disk.
        """
        if place.directory not in self._failed:
            log.error("epoch_failed", log=place.log, why=why)
            self.broken += 1
        why = self._failed.setdefault(place.directory, why)
        if not marked:
            try:
                mark_failed(place.directory, why, self._disk)
            except OSError as error:  # tried again at the next round
                log.error("epoch_failure_not_marked", log=place.log, error=str(error))  # noqa: TRY400 - where

    def _leave_unsealed(self, place: Place, epoch: _Epoch) -> None:
        """What could not be synced is never signed. Raises EvidenceUnavailable while more may follow it."""
        if place.final:
            self._settle(place)
            return
        epoch.tail.advance()
        raise EvidenceUnavailable(f"{place.log}: a sync failed, and its worker has begun no new epoch since")

    def _settle(self, place: Place) -> None:
        if epoch := self._open.pop(place.directory, None):
            epoch.tail.close()
        self._settled.add(place.directory)

    def _note(self, place: Place) -> tuple[int, bytes] | None:
        """Size and root of the checkpoint that lies there. Raises IntegrityViolation if it is not ours."""
        found = checkpoint_of(place, self._keys.publics)
        return (found[0].size, found[0].root) if found else None

    def _sign(self, epoch: _Epoch) -> None:
        """Sync, swap, sign, in this order."""
        epoch.tail.sync()
        size, root = epoch.tail.size, epoch.tail.tree.root()
        if not self._store.advance(epoch.log, size, root, expected=epoch.stored):
            epoch.tail.close()
            del self._open[epoch.directory]
            raise EvidenceUnavailable(f"{epoch.log}: another process seals this log too; it is read anew")
        epoch.stored = size
        self._replace(epoch.directory / NOTE, notes.sign(epoch.log, size, root, *self._keys.seeds))
        epoch.noted = size
        self.sealed += 1

    def _replace(self, file: Path, data: bytes) -> None:
        """`file` holds `data` or what it held before, whenever the machine stops."""
        beside = file.with_name(f".{file.name}.new")
        with beside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(file)
        self._disk.sync_directory(file.parent)


class _Epoch:
    """One epoch that may still grow. `stored` and `noted`: sizes in the store and in the checkpoint file."""

    def __init__(
        self,
        place: Place,
        stored: tuple[int, bytes] | None,
        note: tuple[int, bytes] | None,
        believed: Callable[[bytes], bool],
    ) -> None:
        self.directory, self.log = place.directory, place.log
        self.stored = stored[0] if stored else 0
        self.noted = note[0] if note else 0
        self.tail = Tail(
            place.directory,
            place.log,
            [seal for seal in (stored, note) if seal],
            believed=believed,
            tiles=TileWriter(place.directory),
        )

    @property
    def unsealed(self) -> int:
        return self.tail.size - self.noted

    @property
    def wants_seal(self) -> bool:
        return self.tail.size > min(self.stored, self.noted)


def owned_up(place: Place) -> bool:
    """Whether a later epoch of the same worker begins with a `gap` that names this one."""
    for path in place.directory.parent.iterdir():
        if path.name > place.directory.name and is_epoch(path):
            listing = files.segments(path)
            if place.log in dict(read_opening(path, listing).lost):
                return True
    return False


def _end(directory: Path) -> int:
    """How many entries the last whole line says there are; -1 if it cannot be read."""
    if entries := pruned_to(directory):
        return entries
    seq = reader.last_entry(directory).get("seq")
    return seq + 1 if type(seq) is int else -1
