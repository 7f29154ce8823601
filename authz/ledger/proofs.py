"""Proof files: the way from an entry's leaf to the signed root, made and checked (c2sp.org/tlog-proof).

    c2sp.org/tlog-proof@v1
    extra <base64>                  only read: it is of others, nobody vouches for it
    index <n>
    <sibling hash, base64>          leaf upward, one a line
    <blank>
    <the checkpoint, verbatim>

`Proofs` makes them: in, an epoch's directory and a signed note whose signature was checked; out, the file's
bytes. Called by the record stream and by `aegis proof`. It keeps what it has hashed, and never returns a
proof that does not lead to the root. `parse` reads a file of anybody's: what is not in the one form is
refused.
"""

from __future__ import annotations

import re
from base64 import b64encode
from pathlib import Path
from typing import Final

from msgspec import Struct

from authz.ledger import merkle, notes
from authz.ledger.tree import Tree

HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_HASHES: Final = 64  # a tree of 2^64 leaves
MAX_EXTRA: Final = 8192  # bytes of its line
MAX_PROOF: Final = notes.MAX_NOTE + MAX_EXTRA + 64 * (MAX_HASHES + 2)  # bytes
MAX_TREES: Final = 16  # logs whose tiles are kept, of at most 8 MiB each
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,18})")


class Proof(Struct, frozen=True):
    """What a proof file says: entry `index` is under the checkpoint in `note` by way of `siblings` (32 bytes
    each).
    """

    index: int
    siblings: tuple[bytes, ...]
    note: bytes
    checkpoint: notes.Checkpoint

    def check(self, entry: bytes) -> None:
        """Raises ValueError unless `entry` is the one that is proved. Who signed the checkpoint is another
        question.
        """
        size = self.checkpoint.size
        root = merkle.root_from_inclusion(merkle.leaf_hash(entry), self.index, size, self.siblings)
        if root != self.checkpoint.root:
            raise ValueError("the proof does not lead from this entry to the root of its checkpoint")


def write(index: int, siblings: list[bytes], note: bytes) -> bytes:
    """The proof file."""
    lines = [HEADER, f"index {index}", *(b64encode(sibling).decode() for sibling in siblings), "", ""]
    return "\n".join(lines).encode() + note


def parse(data: bytes) -> Proof:
    """Raises ValueError, naming what is wrong."""
    if len(data) > MAX_PROOF:
        raise ValueError("proof: too long")
    head, blank, note = data.partition(b"\n\n")
    try:
        header, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise ValueError("proof: not ASCII before its checkpoint") from None
    if header != HEADER or not blank:
        raise ValueError(f"proof: not a {HEADER}")
    if lines and lines[0].startswith("extra "):
        notes.base64(lines.pop(0).removeprefix("extra "), None)
    index = _INDEX.fullmatch(lines[0]) if lines else None
    if index is None:
        raise ValueError("proof: no index where it belongs")
    if len(lines) - 1 > MAX_HASHES:
        raise ValueError("proof: too many hashes")
    siblings = tuple(notes.base64(line, 32) for line in lines[1:])
    return Proof(int(index[1]), siblings, note, notes.parse(note))


class Proofs:
    """One caller at a time. Where no tiles are stored, the first proof of a log hashes all of its entries."""

    def __init__(self) -> None:
        self._trees: dict[Path, Tree] = {}

    def tree(self, directory: Path, checkpoint: notes.Checkpoint) -> Tree:
        """The tree under `checkpoint`, whose signature was checked. Raises IntegrityViolation if the stored
        entries do not lead to its root, OSError.
        """
        tree = self._trees.pop(directory, None)
        if tree is None or (tree.size, tree.root) != (checkpoint.size, checkpoint.root):
            tree = Tree(directory, checkpoint.size, checkpoint.root, tree)
        self._trees[directory] = tree
        if len(self._trees) > MAX_TREES:
            del self._trees[next(iter(self._trees))]
        return tree

    def prove(self, directory: Path, seq: int, note: bytes) -> bytes:
        """The proof file for entry `seq` under the checkpoint `note`. Raises IndexError if that does not
        cover it, and as `tree`.
        """
        tree = self.tree(directory, notes.parse(note))
        tree.entry(seq)  # a proof of what is not there any more is worth nothing
        return write(seq, tree.inclusion_proof(seq), note)
