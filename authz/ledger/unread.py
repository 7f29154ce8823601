"""The part of a long epoch that a start need not read at once, because tiles under a checkpoint stand for it.

    | segments below the checkpoint | the last segment |
      hashes from the tiles, up       every entry read,
      to the signed root              as ever

In: a log's directory, what was signed for it, the record keys of this worker. Out: a Start for the walk over
what is left, or None where anything is not as it should be: then all is read, and what is wrong is found and
named. What was left out is read after all by a process of its own while the worker serves already
(`scrub.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from authz import canonical
from authz.errors import IntegrityViolation
from authz.ledger import attestation, files, merkle
from authz.ledger.journal import SEGMENT_ENTRIES
from authz.ledger.succession import InUse
from authz.ledger.tree import Tree

Seal = tuple[int, bytes]
"""A size and the root (32 bytes) that was signed for it."""

KeyOf = Callable[[str], bytes | None]
"""The record key (32 bytes) of this worker with a kid, None for a kid that it does not know."""


class Unread(Struct, frozen=True):
    """The first `segments` of the log in `directory`, with the signed size and root that they lie under."""

    directory: Path
    log: str
    segments: int
    size: int
    root: bytes


class Start(Struct, frozen=True):
    """Where a walk may begin: after `segments`, whose entries make `tree` and end with the one of hash `tip`
    (hex), after which the record key `in_use` attests. `roots` are those of smaller sizes that were signed.
    """

    unread: Unread
    tree: merkle.CompactRange
    tip: str
    in_use: InUse
    roots: dict[int, bytes]

    @property
    def segments(self) -> int:
        return self.unread.segments


def start(directory: Path, log: str, seals: list[Seal], key_of: KeyOf) -> Start | None:
    """As much as may be left unread. Raises OSError."""
    listing = files.segments(directory)
    size, root = max(seals, default=(0, b""))
    segments = min(size // SEGMENT_ENTRIES, len(listing.files) - 1)
    if segments < 1 or listing.fault or listing.pruned:
        return None
    first = segments * SEGMENT_ENTRIES
    try:
        tree = Tree(directory, size, root)
        tree.entry(0)
        in_use = _in_use(tree.entry(first - 1), key_of)
        if in_use is None:
            return None
        return Start(
            Unread(directory, log, segments, size, root),
            tree.range(first),
            tree.leaf(first - 1).hex(),
            in_use,
            {smaller: tree.range(smaller).root() for smaller, _ in seals if smaller <= first},
        )
    except (IntegrityViolation, IndexError, ValueError):
        return None


def _in_use(entry: bytes, key_of: KeyOf) -> InUse | None:
    """The record key after `entry`, which lies under a checkpoint; None for one that this worker has not."""
    members = canonical.parse(entry)
    public = key_of(attestation.kid_of(members))
    return InUse.after(entry, members, public) if public else None
