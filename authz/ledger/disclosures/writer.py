"""Keeps the disclosures of entries beside the log: encrypted lines, written once a turn, never waited for.

    add (with the entry) -> pending --after the entries' own write--> disclosures/<segment>.jsonl

In: disclosures of entries that have their place. Called by the ledger's writer on the event loop. It asks for
no sync but when a segment is done, on another thread, so the machine's death may cost the last of them. What
cannot be written is lost and counted; no decision waits for it or fails by it. While somebody erases, lines
wait here, and go into the file that is there then, under a new key.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from authz.ledger.disclosures import form, place
from authz.ledger.disclosures.form import Line
from authz.ledger.disclosures.vault import Vault, sync
from authz.ledger.journal import SEGMENT_ENTRIES

log = structlog.get_logger(__name__)

MAX_PENDING: Final = 4096  # entries whose disclosures may wait while somebody erases
CLOSE_WAIT_S: Final = 2.0  # for the last sync

_Thing = TypeVar("_Thing")


class _Open(Struct):
    """The file that is written to, and the key of this process for it."""

    number: int
    fd: int
    inode: int
    key_id: str
    cipher: AESGCM


class DisclosureWriter:
    """Of one epoch. `lost`: entries whose disclosures could not be kept."""

    def __init__(self, epoch: Path, origin: str, vault: Vault) -> None:
        self.lost = 0
        self._epoch, self._log, self._vault = epoch, origin, vault
        self._pending: list[Line] = []
        self._open: _Open | None = None
        self._lock = -1
        self._faulty = False

    def add(self, seq: int, decision_id: str, sd: tuple[str, ...]) -> None:
        """The disclosures of an entry that will be written in this turn."""
        if len(self._pending) < MAX_PENDING:
            self._pending.append(Line(decision_id, seq, sd))
        else:
            self.lost += 1

    def write(self, upto: int) -> int:
        """Write what is pending, unless somebody erases; the bytes it took. The entries from `upto` on were
        not written, and theirs are forgotten.
        """
        if self._pending and self._pending[-1].seq >= upto:
            self._pending = [line for line in self._pending if line.seq < upto]
        return self._flush()

    def close(self) -> None:
        """Write what is pending, sync if the disk answers in time, let go. The loop waits."""
        self._flush()
        self.lost += len(self._pending)
        self._pending = []
        if syncing := self._leave():
            syncing.join(CLOSE_WAIT_S)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _flush(self) -> int:
        if not self._pending:
            return 0
        try:
            if self._lock < 0:
                self._lock = self._begin()
            with place.adding(self._lock) as free:
                if not free:
                    return 0
                pending, self._pending = self._pending, []
                written = self._write(pending)
        except OSError as error:
            self.lost += len(self._pending)
            self._pending = []
            self._leave()  # a key that opens no line is one that somebody who erases destroys
            if not self._faulty:
                log.error("disclosures_lost", log=self._log, error=error.strerror)  # noqa: TRY400 - once
            self._faulty = True
            return 0
        self._faulty = False
        return written

    def _begin(self) -> int:
        (self._epoch / place.DIRECTORY).mkdir(mode=0o700, exist_ok=True)
        return place.open_lock(self._epoch)

    def _write(self, lines: list[Line]) -> int:
        """Raises OSError; what is not written then is counted as lost."""
        total = done = 0
        try:
            while done < len(lines):
                number = lines[done].seq // SEGMENT_ENTRIES
                there = self._at(number)
                share = [line for line in lines[done:] if line.seq // SEGMENT_ENTRIES == number]
                data = b"".join(self._sealed(line, there) for line in share)
                _append(there.fd, data)
                done, total = done + len(share), total + len(data)
        except OSError:
            self.lost += len(lines) - done
            raise
        return total

    def _sealed(self, line: Line, there: _Open) -> bytes:
        nonce = os.urandom(form.NONCE_BYTES)
        return form.encrypt(self._log, line, there.key_id, there.cipher, nonce) + b"\n"

    def _at(self, number: int) -> _Open:
        """The segment's file, open: the one that has this name now."""
        path = place.file(self._epoch, number)
        there = self._open
        if there and there.number == number:
            try:
                if os.stat(path, follow_symlinks=False).st_ino == there.inode:
                    return there
            except FileNotFoundError:
                pass
        self._leave()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        try:
            _cut(fd)
            key_id, cipher, file = self._vault.make(self._epoch, number)
        except BaseException:
            os.close(fd)
            raise
        _elsewhere(sync, file)
        self._open = _Open(number, fd, os.fstat(fd).st_ino, key_id, cipher)
        return self._open

    def _leave(self) -> threading.Thread | None:
        if self._open is None:
            return None
        fd, self._open = self._open.fd, None
        return _elsewhere(_finish, fd)


def _append(fd: int, data: bytes) -> None:
    """All of `data`, or nothing of it. Raises OSError."""
    before, view, written = os.fstat(fd).st_size, memoryview(data), 0
    try:
        while written < len(data):
            written += os.write(fd, view[written:])
    except OSError:
        os.ftruncate(fd, before)
        raise


def _cut(fd: int) -> None:
    """Take away a line that a process which was killed did not finish."""
    size = os.fstat(fd).st_size
    tail = os.pread(fd, form.MAX_LINE, max(0, size - form.MAX_LINE))
    if not tail.endswith(b"\n"):
        os.ftruncate(fd, size - len(tail) + tail.rfind(b"\n") + 1)


def _finish(fd: int) -> None:
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


def _elsewhere(work: Callable[[_Thing], None], thing: _Thing) -> threading.Thread:
    """`work(thing)` on a thread that keeps no process alive."""

    def run() -> None:
        try:
            work(thing)
        except OSError as error:
            log.warning("disclosures_not_synced", error=error.strerror)

    thread = threading.Thread(target=run, name="disclosures-sync", daemon=True)
    thread.start()
    return thread
