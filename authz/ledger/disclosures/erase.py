"""Erases disclosures by agent, subject or time; every entry, signature and proof stays as it is.

    plan (on disk, private) -> `erasure` event (durable) -> each segment: what stays goes into a new file
    under a new key, which replaces the old one; the old keys are destroyed -> the plan is removed

In: a Wish, the epochs, the vault, a way to say it. Out: how many disclosures went. Called by `aegis erase`.
A process that is killed leaves its plan, and the next one carries it out from the beginning: what is gone
already is not missed. Nothing is erased that was not said before. A worker may add lines meanwhile: it waits
for the lock of its epoch and goes on in the new file. Raises OSError, KeyUnusable, LedgerLocked, and
IntegrityViolation for lines that are none: of what cannot be read nobody knows whether it is meant.
"""

from __future__ import annotations

import os
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from authz.errors import AegisError, ConfigError, IntegrityViolation
from authz.ledger import reader
from authz.ledger.disclosures import form, place
from authz.ledger.disclosures.reader import Kept, Opener, kept
from authz.ledger.disclosures.vault import Vault, sync
from authz.ledger.disclosures.wish import Plan, Wish
from authz.ledger.journal import SEGMENT_ENTRIES, Disk
from authz.ledger.lock import Lock

SALT_BYTES: Final = 16


class Epoch(Struct, frozen=True):
    """An epoch's directory, and the log in it."""

    directory: Path
    log: str


class Erasing:
    """`plans`: where they lie. `say(members)` puts the `erasure` event where it is durable, or raises.
    `holder(entry)` names the legal hold over an entry, "" for none: nothing that one covers is erased, and
    ConfigError says so.
    """

    def __init__(
        self,
        plans: Path,
        epochs: Callable[[], Iterable[Epoch]],
        vault: Vault,
        say: Callable[[dict[str, Any]], None],
        holder: Callable[[Mapping[str, Any]], str] = lambda entry: "",
    ) -> None:
        self._plans, self._epochs, self._vault, self._say = plans, epochs, vault, say
        self._holder = holder

    def count(self, wish: Wish) -> dict[str, int]:
        """How many disclosures there are to be erased, by log."""
        counts: dict[str, int] = {}
        for epoch in self._epochs():
            for number in place.numbers(epoch.directory):
                for each, meant in self._judged(epoch, number, wish):
                    if meant:
                        counts[epoch.log] = counts.get(epoch.log, 0) + len(each.sd or ())
        return counts

    def resume(self) -> list[Plan]:
        """Finish what an earlier process did not."""
        with self._alone():
            plans = [self._load(file) for file in sorted(self._plans.glob("*.json"))]
            for plan in plans:
                self._finish(plan, self.count(plan.wish))
            return plans

    def erase(self, wish: Wish) -> tuple[Plan, int]:
        """Say it, then erase; with the plan, how many went. If `say` raises, nothing is erased."""
        with self._alone():
            counts = self.count(wish)
            plan = Plan(str(uuid.uuid4()), _salt(), wish)
            self._store(plan)
            try:
                self._finish(plan, counts)
            except (AegisError, ValueError):
                if not self._load(self._file(plan)).said:
                    self._drop(plan)
                raise
            return plan, sum(counts.values())

    def _finish(self, plan: Plan, counts: dict[str, int]) -> None:
        if not plan.said:
            self._say(plan.event(sum(counts.values()), sorted(counts)))
            self._store(msgspec.structs.replace(plan, said=True))
        for epoch in self._epochs():
            if (epoch.directory / place.DIRECTORY).is_dir():
                with place.changing(epoch.directory):
                    self._carry_out(epoch, plan.wish)
        self._drop(plan)

    def _carry_out(self, epoch: Epoch, wish: Wish) -> None:
        """Take what is meant out of each segment, and destroy every key that opens no line any more."""
        used: set[str] = set()
        for number in place.numbers(epoch.directory):
            if any(meant for _, meant in self._judged(epoch, number, wish)):
                self._replace(epoch, number, wish)
            used.update(each.line.key for each in kept(epoch.directory, number))
        self._vault.sweep(epoch.directory)
        for stored in list(self._vault.stored(epoch.directory)):
            if stored.id not in used:
                self._vault.destroy(stored)

    def _judged(self, epoch: Epoch, number: int, wish: Wish) -> Iterator[tuple[Kept, bool]]:
        """Each line of a segment that can still be opened, and whether it is meant."""
        first = number * SEGMENT_ENTRIES
        concerned: dict[int, str] = {}  # with the hold over each
        for found in reader.entries(epoch.directory, first):
            if found.seq >= first + SEGMENT_ENTRIES:
                break
            if wish.concerns(members := found.members()):
                concerned[found.seq] = self._holder(members)
        opener = Opener(epoch.directory, epoch.log, self._vault)
        for each in map(opener.open, kept(epoch.directory, number)):
            if each.erased:
                continue
            meant = each.line.seq in concerned and wish.means(each.sd or ())
            if meant and concerned[each.line.seq]:
                held = f"hold {concerned[each.line.seq]} covers entry {each.line.seq} of {epoch.log}"
                raise ConfigError(f"nothing is erased: {held}")
            yield each, meant

    def _replace(self, epoch: Epoch, number: int, wish: Wish) -> None:
        """A new file with what stays of the segment, under a new key."""
        file = place.file(epoch.directory, number)
        key_id, cipher, key_file = self._vault.make(epoch.directory, number)
        sync(key_file)

        def stay() -> Iterator[bytes]:
            for each, meant in self._judged(epoch, number, wish):
                if not meant:
                    line = form.Line(each.line.decision_id, each.line.seq, each.sd or ())
                    nonce = os.urandom(form.NONCE_BYTES)
                    yield form.encrypt(epoch.log, line, key_id, cipher, nonce) + b"\n"

        _write(file, stay())

    def _load(self, file: Path) -> Plan:
        try:
            return msgspec.json.decode(file.read_bytes(), type=Plan)
        except msgspec.DecodeError as error:
            raise IntegrityViolation(f"not a plan of an erasure: {error}", file=str(file)) from None

    def _store(self, plan: Plan) -> None:
        _write(self._file(plan), [msgspec.json.encode(plan)])

    def _drop(self, plan: Plan) -> None:
        self._file(plan).unlink(missing_ok=True)
        Disk().sync_directory(self._plans)

    def _file(self, plan: Plan) -> Path:
        return self._plans / f"{plan.erasure_id}.json"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._plans.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = Lock(self._plans / "lock", f"{self._plans}: another process erases")
        try:
            yield
        finally:
            lock.release()


def _salt() -> str:
    return urlsafe_b64encode(os.urandom(SALT_BYTES)).rstrip(b"=").decode()


def _write(file: Path, parts: Iterable[bytes]) -> None:
    """`file` holds `parts` (mode 0600) or what it held before, whenever the machine stops."""
    beside = file.with_name(f".{file.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.writelines(parts)
        stream.flush()
        os.fsync(stream.fileno())
    beside.rename(file)
    Disk().sync_directory(file.parent)
