"""Follows the entries of one epoch while a worker writes it: every whole line once, read back and checked.

In: an epoch's directory, sizes and roots that were signed for it. Out: the tree over what is there, or an
IntegrityViolation that names file, line and seq. Called by the sealing follower on a thread of its own. A
segment that shrinks, goes away or is replaced is a violation, and so is a root other than the signed one.
Entries below the newest signed size are only hashed, since that root speaks for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NoReturn

from authz.errors import IntegrityViolation
from authz.followers.tile_writer import TileWriter
from authz.ledger import form, keys, merkle
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name
from authz.ledger.succession import InUse

CHUNK: Final = 1 << 20  # bytes read at once
MAX_UNSYNCED: Final = 8  # segments kept open until they are synced


class SyncFailed(OSError):
    """What was read may not be on disk, and a later sync that succeeds does not say that it is."""


class Tail:
    """`size` entries taken so far, `tree` over them. Holds the current segment open until `close`: only a
    descriptor from before an error sees it when it syncs. `believed`: whether a public key is one of the
    record keys of this deployment. `tiles` gets every leaf hash.
    """

    def __init__(
        self,
        directory: Path,
        log: str,
        signed: Iterable[tuple[int, bytes]] = (),
        *,
        believed: Callable[[bytes], bool],
        tiles: TileWriter | None = None,
    ) -> None:
        self.log, self.closed = log, False
        self._entries = directory / "entries"
        self._signed: dict[int, bytes] = {}
        for size, root in signed:
            if self._signed.setdefault(size, root) != root:
                raise IntegrityViolation(f"two roots are signed for {size} entries", file=str(directory))
        self._trusted = max(self._signed, default=0)
        self.tree = merkle.CompactRange()
        self._previous = merkle.EMPTY_HASH_HEX
        self._in_use, self._believed, self._tiles = InUse(), believed, tiles
        self._last: tuple[bytes, dict[str, Any]] | None = None  # to be attested: entry and members
        self._fd = -1
        self._number = 0  # of the current segment
        self._offset = 0  # bytes of it that are taken
        self._unsynced: list[int] = []  # descriptors with entries not synced yet; the last may be the current

    @property
    def size(self) -> int:
        return self.tree.size

    def advance(self) -> None:
        """Take every whole line that is there. Raises IntegrityViolation at the first wrong one, OSError,
        and SyncFailed as `sync` does, which is called for a log that grows by many segments at once.
        """
        try:
            self._take_all()
        except ValueError:
            # A line that its writer took back while it was read looks wrong once; a wrong one always.
            try:
                self._take_all()
            except ValueError as error:
                self._violated(str(error))
        if self._tiles:
            self._tiles.flush()

    def check_signed(self) -> None:
        """Raises IntegrityViolation if more was signed than is there."""
        if self.size < self._trusted:
            self._violated(f"rolled back: {self._trusted} entries were sealed, and {self.size} are there")

    def check_attested(self) -> None:
        """Raises IntegrityViolation if the last entry is not attested by the record key in use, or that is
        none of this deployment's.

        Its link covers those before it: nobody without that key can have added any of them.
        """
        if self._last is None:
            return
        try:
            self._in_use.check(*self._last)
            if not self._believed(self._in_use.public):
                raise ValueError(f"{keys.thumbprint(self._in_use.public)} is none of this deployment's keys")
        except ValueError as error:
            self._violated(f"not by the record key in use: {error}", self.size - 1)
        self._last = None

    def sync(self) -> None:
        """Make durable all that was taken. Raises SyncFailed, after which nothing here may be signed."""
        while self._unsynced:
            try:
                os.fdatasync(self._unsynced[0])
            except OSError as error:
                raise SyncFailed(error.errno, error.strerror) from error
            fd = self._unsynced.pop(0)
            if fd != self._fd:
                os.close(fd)

    def close(self) -> None:
        for fd in {*self._unsynced, self._fd} - {-1}:
            os.close(fd)
        self._unsynced, self._fd = [], -1

    def _take_all(self) -> None:
        while self._open_segment() and self._take_chunk():
            pass

    def _open_segment(self) -> bool:
        """Have the segment of the next entry open; False if there is none yet."""
        number = self.size // SEGMENT_ENTRIES
        if self._fd >= 0 and number == self._number:
            self._check_file()
            return True
        if self._fd >= 0 and os.fstat(self._fd).st_size > self._offset:
            raise ValueError(f"more than {SEGMENT_ENTRIES} entries in a segment")
        try:
            fd = os.open(self._path(number), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            if self._path(number + 1).exists():
                raise ValueError("a segment is missing here") from None
            return False
        if len(self._unsynced) >= MAX_UNSYNCED:
            self.sync()
        if self._fd >= 0 and self._fd not in self._unsynced:
            os.close(self._fd)
        self._fd, self._number, self._offset = fd, number, 0
        return True

    def _check_file(self) -> None:
        """The file that was read is still what its name says, and no shorter."""
        read = os.fstat(self._fd)
        try:
            named = os.lstat(self._path(self._number))
        except FileNotFoundError:
            raise ValueError("the segment is gone") from None
        if (read.st_dev, read.st_ino) != (named.st_dev, named.st_ino):
            raise ValueError("the segment was replaced")
        if read.st_size < self._offset:
            raise ValueError("the segment is shorter than what was read of it")

    def _take_chunk(self) -> bool:
        """Take the whole lines of the next bytes; whether there were any."""
        heir = self._path(self._number + 1).exists()  # asked before: an heir comes after the last line
        *lines, rest = os.pread(self._fd, CHUNK, self._offset).split(b"\n")
        if lines and self._fd not in self._unsynced:
            self._unsynced.append(self._fd)
        for line in lines:
            if self._full:
                break
            self._take(line)
            self._offset += len(line) + 1
        if len(rest) > form.MAX_ENTRY:
            raise ValueError(f"longer than {form.MAX_ENTRY} bytes")
        if heir and not lines and not self._full:
            raise ValueError("the segment ends here, and another follows it")
        return bool(lines)

    @property
    def _full(self) -> bool:
        return self.size // SEGMENT_ENTRIES != self._number

    def _take(self, entry: bytes) -> None:
        if self.closed:
            raise ValueError("an entry after `close`")
        if self.size >= self._trusted - 1:  # also the last signed one: it may be `close`
            members = form.read(entry, self.log, self.size, self._previous)
            self.closed = members["kind"] == "close"
            self._last = (entry, members) if self.size >= self._trusted else None
        self._in_use.see(entry)
        leaf = merkle.leaf_hash(entry)
        self._previous = leaf.hex()
        self.tree.append(leaf)
        if self._tiles:
            self._tiles.append(leaf)
        if self.size in self._signed and self._signed[self.size] != self.tree.root():
            self._violated(f"the root over {self.size} entries is not the one that was signed")

    def _path(self, number: int) -> Path:
        return self._entries / segment_name(number * SEGMENT_ENTRIES)

    def _violated(self, what: str, seq: int | None = None) -> NoReturn:
        """At entry `seq`, by default the next one."""
        seq = self.size if seq is None else seq
        raise IntegrityViolation(
            what, file=str(self._path(seq // SEGMENT_ENTRIES)), line=seq % SEGMENT_ENTRIES + 1, seq=seq
        )
