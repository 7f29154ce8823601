"""The tree over a log's entries: RFC 6962 section 2.1, and nothing else.

    leaf(d) = SHA-256(0x00 || d)      node(l, r) = SHA-256(0x01 || l || r)      root of nothing = SHA-256("")

Hashes are 32 bytes. Pure functions of hashes: no file, no key, no entry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

EMPTY_HASH: Final = hashlib.sha256(b"").digest()
EMPTY_HASH_HEX: Final = EMPTY_HASH.hex()


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class CompactRange:
    """A growing tree kept as the roots of its perfect subtrees, largest first: log2(size) hashes."""

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        size, roots = self.size, self._roots
        while size & 1:
            leaf = node_hash(roots.pop(), leaf)
            size >>= 1
        roots.append(leaf)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        for leaf in leaves:
            self.append(leaf)

    def join(self, other: CompactRange) -> None:
        """Go on with what `other` holds. Raises ValueError unless its perfect subtrees are subtrees here too:
        the size of this range must be a multiple of the largest of them.
        """
        if other.size and self.size % (1 << (other.size.bit_length() - 1)):
            raise ValueError(f"a range of {other.size} does not line up after {self.size}")
        remaining = other.size
        for node in other._roots:
            width = 1 << (remaining.bit_length() - 1)
            remaining -= width
            height = self.size // width
            while height & 1:
                node = node_hash(self._roots.pop(), node)
                height >>= 1
            self._roots.append(node)
            self.size += width

    def root(self) -> bytes:
        """The root over everything appended so far."""
        if not self._roots:
            return EMPTY_HASH
        *left, root = self._roots
        for subtree in reversed(left):
            root = node_hash(subtree, root)
        return root

    def copy(self) -> CompactRange:
        twin = CompactRange()
        twin.size, twin._roots = self.size, self._roots.copy()
        return twin


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over a list of leaf hashes."""
    tree = CompactRange()
    tree.extend(leaves)
    return tree.root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Sibling hashes from the leaf upward (RFC 6962 section 2.1.1). Raises IndexError outside of the tree."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"no leaf {index} in a tree of {len(leaves)}")
    proof: list[bytes] = []
    while len(leaves) > 1:
        split = 1 << ((len(leaves) - 1).bit_length() - 1)
        if index < split:
            proof.append(root(leaves[split:]))
            leaves = leaves[:split]
        else:
            proof.append(root(leaves[:split]))
            leaves, index = leaves[split:], index - split
    return proof[::-1]


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that `proof` leads to from `leaf` (RFC 9162 section 2.1.3.2). Raises ValueError if the proof
    does not have the form of one for this place.
    """
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    last = size - 1
    for sibling in proof:
        if last == 0:
            raise ValueError("the proof is too long")
        if index & 1 or index == last:
            leaf = node_hash(sibling, leaf)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            leaf = node_hash(leaf, sibling)
        index, last = index >> 1, last >> 1
    if last:
        raise ValueError("the proof is too short")
    return leaf
