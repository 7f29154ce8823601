"""Where policy versions lie: objects that are created once and never written again, in a directory.

    <revision>.tar.gz           a version's signed bundle
    changelog/00000001.json     which bundles are published, the first one first (`versions.py`)
    activations/00000001.json   which of them was made active, when, by whom and why

In: names and bytes. Out: bytes. Called by `versions.py` alone; `store_s3.py` is the same in a bucket. A name
exists with all of its bytes, durable, or not at all: whoever creates it first has it, whoever else hears so.
Nothing here is replaced or deleted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from authz.errors import StoreUnavailable


class Store(Protocol):
    """Raises StoreUnavailable, with the object's name, whenever it cannot do its work."""

    look_every_s: float
    """How often a server may ask for a new name."""

    def create(self, name: str, data: bytes) -> bool:
        """Whether `name` was not there and now is, with `data`."""

    def read(self, name: str) -> bytes | None:
        """What `name` has, None if there is none."""

    def names(self, folder: str) -> list[str]:
        """The objects in `folder` (no folder in it), in the order of their names."""

    def place(self) -> str:
        """For people."""


class DirectoryStore:
    """A directory, made when something is put there."""

    look_every_s = 0.05

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, name: str, data: bytes) -> bool:
        """As `Store.create`: a link to a synced file, which unlike a rename never replaces."""
        file = self.path / name
        beside = file.with_name(f".{file.name}.{os.getpid()}.{os.urandom(4).hex()}")
        with self._explained(file):
            _make(file.parent)
            if file.exists():
                return False
            try:
                _write(beside, data)
                os.link(beside, file)
            except FileExistsError:
                return False
            finally:
                with suppress(OSError):
                    beside.unlink(missing_ok=True)
            _sync(file.parent)
        return True

    def read(self, name: str) -> bytes | None:
        """As `Store.read`."""
        file = self.path / name
        with self._explained(file):
            try:
                return file.read_bytes()
            except FileNotFoundError:
                return None

    def names(self, folder: str) -> list[str]:
        """As `Store.names`."""
        directory = self.path / folder
        with self._explained(directory):
            try:
                found = sorted(os.listdir(directory))
            except FileNotFoundError:
                return []
        return [f"{folder}/{name}" for name in found if not name.startswith(".")]

    def place(self) -> str:
        """As `Store.place`."""
        return str(self.path)

    @contextmanager
    def _explained(self, file: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailable(f"{file}: {error.strerror}") from None


def _make(directory: Path) -> None:
    """With every directory above it, durable."""
    if directory.is_dir():
        return
    _make(directory.parent)
    directory.mkdir(exist_ok=True)
    _sync(directory.parent)


def _write(file: Path, data: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def _sync(directory: Path) -> None:
    """Make what was linked in `directory` survive a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
