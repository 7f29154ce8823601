"""Where the epochs of a deployment's workers lie, each worker's oldest first.

In: the directory of all ledgers. Out: Places. Called by the sealer, the record stream and the exporters,
which must agree on what there is. It reads names and checkpoints, and follows no link.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from authz.errors import IntegrityViolation
from authz.ledger import files, notes, pruned
from authz.ledger.journal import SEGMENT_ENTRIES
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


def pruned_to(directory: Path) -> int:
    """How many entries an epoch had whose end was pruned; 0 if its end is there. Raises OSError."""
    listing = files.segments(directory)
    if listing.fault or listing.last not in listing.pruned:
        return 0
    try:
        return listing.last * SEGMENT_ENTRIES + pruned.read(directory, listing.last).entries
    except ValueError:
        return 0
