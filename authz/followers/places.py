"""Where the epochs of a deployment's workers lie, each worker's oldest first.

In: the directory of all ledgers. Out: Places. Called by the sealer, the record stream and the exporters,
which must agree on what there is. It reads names, checkpoints and single lines, and follows no link.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from authz import canonical
from authz.errors import IntegrityViolation
from authz.ledger import files, notes
from authz.ledger.form import MAX_ENTRY
from authz.ledger.recovery import is_epoch


class Place(Struct, frozen=True):
    """An epoch's directory and its log; `final`: it is not the newest of its worker."""

    directory: Path
    log: str
    final: bool

    @property
    def worker(self) -> str:
        return self.directory.parent.name


def find(ledgers: Path, deployment: str) -> Iterator[Place]:
    """Every epoch below `ledgers`, in the order of workers and then of epochs. Raises OSError."""
    workers = sorted(ledgers.iterdir()) if ledgers.is_dir() else []
    for worker in workers:
        if worker.is_dir() and not worker.is_symlink():
            yield from _epochs(worker, f"{deployment}/{worker.name}")


def _epochs(worker: Path, origin: str) -> Iterator[Place]:
    epochs = sorted(path for path in worker.iterdir() if is_epoch(path))
    for path in epochs:
        yield Place(path, f"{origin}/{path.name}", final=path is not epochs[-1])


def checkpoint_of(place: Place, publics: Sequence[bytes]) -> tuple[notes.Checkpoint, bytes] | None:
    """The epoch's checkpoint and the signed note it was read from, None before the first.

    Raises IntegrityViolation if what lies there is not one of this log by one of the log keys `publics`.
    """
    note, fault = files.checkpoint(place.directory)
    if fault:
        raise IntegrityViolation(fault.what, file=fault.file)
    if note is None:
        return None
    file = str(place.directory / "checkpoint")
    try:
        checkpoint = notes.parse(note)
    except ValueError as error:
        raise IntegrityViolation(str(error), file=file) from None
    if checkpoint.log != place.log or not notes.signed_by(checkpoint, *publics):
        raise IntegrityViolation(f"not a checkpoint of {place.log} signed by this log key", file=file)
    return checkpoint, note


def first_entry(directory: Path) -> dict[str, Any]:
    """Members of the epoch's first entry; {} if it is not there or no entry."""
    segments = files.segments(directory).files
    if not segments:
        return {}
    with files.open_regular(segments[0]) as stream:
        return _members(stream.readline(files.MAX_LINE).removesuffix(b"\n"))


def last_entry(directory: Path) -> dict[str, Any]:
    """Members of the epoch's last whole line; {} if it is not there or no entry."""
    listing = files.segments(directory)
    if listing.fault or not listing.files:
        return {}
    with files.open_regular(listing.files[-1]) as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - 2 * (MAX_ENTRY + 1)))
        lines = stream.read().split(b"\n")
    return _members(lines[-2]) if len(lines) > 1 else {}


def _members(line: bytes) -> dict[str, Any]:
    try:
        return canonical.parse(line)
    except ValueError:
        return {}
