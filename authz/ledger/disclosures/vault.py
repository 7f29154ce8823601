"""The keys of disclosures: one or more for each segment, so that destroying them erases it, copies included.

    <keys>/<worker>/<epoch>/<segment>-<key id>.key      40 bytes as hex: the key, wrapped (RFC 3394)
    keys/disclosures.key                                what wraps them

In: the directory of the keys, the wrapping key. Out: ciphers. Called by the worker's writer, by `aegis
disclose`, `erase` and `verify`. Keys lie apart from what they open: a copy of the ledger is no copy of them.
It must never put a key into a text, or hand out one that is not wrapped by ours.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from msgspec import Struct

from authz.config import Settings
from authz.errors import KeyUnusable
from authz.ledger import keys
from authz.ledger.journal import Disk

KEY_BYTES: Final = 32
_FILE: Final = re.compile(r"([0-9]{8})-([0-9a-f]{16})\.key")
_WRAPPED: Final = re.compile(rb"[0-9a-f]{80}\n")


class Stored(Struct, frozen=True):
    """Where the key `id` of segment `number` is."""

    file: Path
    number: int
    id: str


class Vault:
    """Keys of one deployment. `wrapping`: 32 bytes."""

    def __init__(self, directory: Path, wrapping: bytes) -> None:
        self._directory, self._wrapping = directory, wrapping

    def make(self, epoch: Path, number: int) -> tuple[str, AESGCM, Path]:
        """A new key for segment `number` of the epoch whose directory is `epoch`: its id, its cipher, its
        file, which is whole and not yet synced. Raises OSError.
        """
        key_id, key = os.urandom(8).hex(), os.urandom(KEY_BYTES)
        file = self.place(epoch) / f"{number:08d}-{key_id}.key"
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = file.with_suffix(".new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(aes_key_wrap(self._wrapping, key).hex().encode() + b"\n")
        beside.rename(file)
        return key_id, AESGCM(key), file

    def stored(self, epoch: Path) -> Iterator[Stored]:
        """The keys of an epoch that are there. Raises OSError."""
        place = self.place(epoch)
        for name in sorted(os.listdir(place)) if place.is_dir() else ():
            if found := _FILE.fullmatch(name):
                yield Stored(place / name, int(found[1]), found[2])

    def cipher(self, stored: Stored) -> AESGCM:
        """Raises KeyUnusable if the file is not a key of ours, OSError if it cannot be read."""
        descriptor = os.open(stored.file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode, data = os.fstat(descriptor).st_mode, os.read(descriptor, 128)
        finally:
            os.close(descriptor)
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise KeyUnusable(f"{stored.file}: others may read it; a key is a file of mode 0600")
        if not _WRAPPED.fullmatch(data):
            raise KeyUnusable(f"{stored.file}: not a wrapped key")
        try:
            return AESGCM(aes_key_unwrap(self._wrapping, bytes.fromhex(data[:80].decode("ascii"))))
        except InvalidUnwrap:
            raise KeyUnusable(f"{stored.file}: wrapped by another key than disclosures.key") from None

    def destroy(self, stored: Stored) -> None:
        """Overwrite the key and remove it, durably; a second time changes nothing. Raises OSError."""
        try:
            descriptor = os.open(stored.file, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.pwrite(descriptor, b"0" * os.fstat(descriptor).st_size, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        stored.file.unlink()
        Disk().sync_directory(stored.file.parent)

    def sweep(self, epoch: Path) -> None:
        """Remove what a process that was killed did not finish. Alone with the epoch. Raises OSError."""
        place = self.place(epoch)
        for file in place.glob("*.new") if place.is_dir() else ():
            file.unlink()

    def place(self, epoch: Path) -> Path:
        """Where the keys of an epoch lie."""
        return self._directory / epoch.parent.name / epoch.name


def vault_of(settings: Settings, *, make: bool = False) -> Vault:
    """The keys of these settings; `make`: also the wrapping key if it is missing. Raises KeyUnusable."""
    file = settings.path(settings.disclosures.key)
    wrapping = keys.ensure(file) if make else keys.load(file)
    return Vault(settings.path(settings.disclosures.keys), wrapping)


def sync(file: Path) -> None:
    """Make a file and its name durable. Raises OSError."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    Disk().sync_directory(file.parent)
