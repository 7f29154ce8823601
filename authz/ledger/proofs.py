"""Proves that an entry is under a checkpoint: the way from its leaf to the signed root (EVIDENCE section 3).

    c2sp.org/tlog-proof@v1
    index <n>
    <sibling hash, base64>          leaf upward, one a line
    <blank>
    <the checkpoint, verbatim>

In: an epoch's directory, a signed note whose signature was checked. Out: the file's bytes. Called by the
record stream. It hashes what is stored and never signs or returns a proof that does not lead to the root. A
full segment is a whole subtree (65,536 entries), so its root is computed once and kept.
"""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Final

from authz.errors import IntegrityViolation
from authz.ledger import files, merkle, notes
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name

HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_ROOTS: Final = 16_384  # roots of full segments kept, 32 bytes each: a thousand million entries


class Proofs:
    """One caller at a time. Reading a full segment for the first time takes about 0.1 s."""

    def __init__(self, per_segment: int = SEGMENT_ENTRIES) -> None:
        self._per_segment = per_segment
        self._roots: dict[Path, bytes] = {}

    def prove(self, directory: Path, seq: int, note: bytes) -> bytes:
        """The proof for entry `seq` under the checkpoint `note`, which covers it. Raises IntegrityViolation
        if the stored entries do not lead to its root, OSError.
        """
        checkpoint = notes.parse(note)
        number, place = divmod(seq, self._per_segment)
        leaves = self._leaves(directory, number, checkpoint.size)
        last = (checkpoint.size - 1) // self._per_segment
        roots = [
            merkle.root(leaves) if other == number else self._root(directory, other, checkpoint.size)
            for other in range(last + 1)
        ]
        proof = merkle.inclusion_proof(leaves, place) + merkle.inclusion_proof(roots, number)
        if merkle.root_from_inclusion(leaves[place], seq, checkpoint.size, proof) != checkpoint.root:
            what = f"the root over {checkpoint.size} entries is not the one that was signed"
            raise IntegrityViolation(what, file=str(directory / "entries"), seq=seq)
        lines = [HEADER, f"index {seq}", *(b64encode(sibling).decode() for sibling in proof), "", ""]
        return "\n".join(lines).encode() + note

    def _root(self, directory: Path, number: int, size: int) -> bytes:
        """The root over segment `number`, as far as it lies below `size`."""
        file = directory / "entries" / segment_name(number * SEGMENT_ENTRIES)
        if file in self._roots:
            return self._roots[file]
        root = merkle.root(self._leaves(directory, number, size))
        if size >= (number + 1) * self._per_segment:
            if len(self._roots) >= MAX_ROOTS:
                self._roots.pop(next(iter(self._roots)))
            self._roots[file] = root
        return root

    def _leaves(self, directory: Path, number: int, size: int) -> list[bytes]:
        """The leaf hashes of segment `number` below `size`. Raises IntegrityViolation if some are missing."""
        wanted = min(self._per_segment, size - number * self._per_segment)
        file = directory / "entries" / segment_name(number * SEGMENT_ENTRIES)
        leaves: list[bytes] = []
        with files.open_regular(file) as stream:
            for line in files.lines(stream):
                if len(leaves) == wanted or not line.endswith(b"\n"):
                    break
                leaves.append(merkle.leaf_hash(line[:-1]))
        if len(leaves) < wanted:
            seq = number * self._per_segment + len(leaves)
            raise IntegrityViolation("the entry is missing", file=str(file), line=len(leaves) + 1, seq=seq)
        return leaves
