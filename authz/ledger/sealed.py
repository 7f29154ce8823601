"""The checkpoint that lies in a log's directory, once its signature is verified by pinned keys.

In: a directory, Trust. Out: Sealed, or None before the first. Called by whoever verifies, proves or
publishes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from msgspec import Struct

from authz.errors import IntegrityViolation
from authz.ledger import files, notes
from authz.ledger.trust import Trust

NAME: Final = "checkpoint"


class Sealed(Struct, frozen=True):
    """A log under a checkpoint that the pinned keys `signers` signed, and the note it was read from."""

    directory: Path
    note: bytes
    checkpoint: notes.Checkpoint
    signers: tuple[bytes, ...]

    @property
    def log(self) -> str:
        return self.checkpoint.log


def read(directory: Path, trust: Trust, known: Sealed | None = None) -> Sealed | None:
    """`known` is given back if it is still what lies there. Raises IntegrityViolation if that is not a
    checkpoint by a pinned key of the log that it names, OSError.
    """
    file = str(directory / NAME)
    note, fault = files.checkpoint(directory)
    if fault:
        raise IntegrityViolation(fault.what, file=file)
    if note is None:
        return None
    if known is not None and known.note == note:
        return known
    try:
        return Sealed(directory, note, *opened(note, trust))
    except ValueError as error:
        raise IntegrityViolation(str(error), file=file) from None


def opened(note: bytes, trust: Trust) -> tuple[notes.Checkpoint, tuple[bytes, ...]]:
    """The checkpoint in `note`, and which of the pinned keys of its log signed it. Raises ValueError if it is
    none, or nobody did.
    """
    checkpoint = notes.parse(note)
    publics = trust.log_keys_of(checkpoint.log)
    if not publics:
        raise ValueError(f"checkpoint: no key is pinned for {checkpoint.log}")
    signers = tuple(notes.signers(checkpoint, publics))
    if not signers:
        raise ValueError("checkpoint: not signed by the pinned key of its log")
    return checkpoint, signers
