"""The tree over a log's entries: RFC 6962 section 2.1, and nothing else.

    leaf(d) = SHA-256(0x00 || d)      node(l, r) = SHA-256(0x01 || l || r)      root of nothing = SHA-256("")

Hashes are 32 bytes. Pure functions of hashes: no file, no key, no entry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

EMPTY_HASH: Final = hashlib.sha256(b"").digest()
EMPTY_HASH_HEX: Final = EMPTY_HASH.hex()
_BLOCK_HEIGHT: Final = 8  # of the subtrees that are hashed level by level
_BLOCK: Final = 1 << _BLOCK_HEIGHT

Node = Callable[[int, int], bytes]
"""`node(level, index)`: the hash over the leaves from `index << level` up to `index + 1 << level`."""


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

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add leaf hashes; many at once take half the time of one by one."""
        place = 0
        while place < len(leaves):
            if self.size % _BLOCK == 0 and place + _BLOCK <= len(leaves):
                self.push(root(leaves[place : place + _BLOCK]), _BLOCK_HEIGHT)
                place += _BLOCK
            else:
                self.append(leaves[place])
                place += 1

    def join(self, other: CompactRange) -> None:
        """Go on with what `other` holds. Raises ValueError unless its perfect subtrees are subtrees here too:
        the size of this range must be a multiple of the largest of them.
        """
        if other.size and self.size % (1 << (other.size.bit_length() - 1)):
            raise ValueError(f"a range of {other.size} does not line up after {self.size}")
        for node, (level, _) in zip(other._roots, subtrees(0, other.size), strict=True):
            self.push(node, level)

    def push(self, node: bytes, level: int) -> None:
        """Add a perfect subtree of `1 << level` leaves; the size is a multiple of that."""
        height = self.size >> level
        while height & 1:
            node = node_hash(self._roots.pop(), node)
            height >>= 1
        self._roots.append(node)
        self.size += 1 << level

    def root(self) -> bytes:
        """The root over everything appended so far."""
        return _fold(self._roots)

    def copy(self) -> CompactRange:
        twin = CompactRange()
        twin.size, twin._roots = self.size, self._roots.copy()
        return twin


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over a list of leaf hashes, or of perfect subtrees of one size."""
    if not leaves:
        return EMPTY_HASH
    sha256, row = hashlib.sha256, list(leaves)
    while len(row) > 1:
        odd = row[-1:] if len(row) & 1 else []
        pairs = iter(row)
        row = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=False)]
        row += odd
    return row[0]


def nodes(leaves: Sequence[bytes]) -> Node:
    """The perfect subtrees of a tree whose leaf hashes are all at hand."""
    return lambda level, index: root(leaves[index << level : (index + 1) << level])


def subtrees(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The perfect subtrees (level, index) that make up the leaves from `start` to `end`, where `start` is a
    multiple of the largest.
    """
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def range_root(start: int, end: int, node: Node) -> bytes:
    """The root over the leaves from `start` to `end`, which `subtrees` can make up."""
    return _fold([node(level, index) for level, index in subtrees(start, end)])


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """Sibling hashes from the leaf upward (RFC 6962 section 2.1.1). Raises IndexError outside of the tree."""
    if not 0 <= index < size:
        raise IndexError(f"no leaf {index} in a tree of {size}")
    start, end, proof = 0, size, []
    while end - start > 1:
        split = _split(start, end)
        if index < split:
            proof.append((split, end))
            end = split
        else:
            proof.append((start, split))
            start = split
    return [range_root(start, end, node) for start, end in reversed(proof)]


def consistency_proof(old: int, size: int, node: Node) -> list[bytes]:
    """Why the tree of `size` goes on from the one of `old` (RFC 6962 section 2.1.2). Nothing needs to be said
    of an empty one, or of the same. Raises IndexError if there was no such tree.
    """
    if not 0 <= old <= size:
        raise IndexError(f"no tree of {old} below one of {size}")
    if old == 0:
        return []
    start, end, proof = 0, size, []
    while end != old:
        split = _split(start, end)
        if old <= split:
            proof.append((split, end))
            end = split
        else:
            proof.append((start, split))
            start = split
    if start:  # otherwise the old tree is a subtree of this one, and known
        proof.append((start, end))
    return [range_root(start, end, node) for start, end in reversed(proof)]


def _split(start: int, end: int) -> int:
    """Where RFC 6962 cuts the leaves from `start` to `end` in two."""
    return start + (1 << ((end - start - 1).bit_length() - 1))


def _fold(roots: Sequence[bytes]) -> bytes:
    """The root over perfect subtrees, largest first."""
    if not roots:
        return EMPTY_HASH
    *left, node = roots
    for subtree in reversed(left):
        node = node_hash(subtree, node)
    return node


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


def consistent(old: int, old_root: bytes, size: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the tree of `size` with `new_root` goes on from the one of `old` with
    `old_root` (RFC 9162 section 2.1.4.2).
    """
    if old == 0 or old == size:
        return not proof and (old_root == new_root if old else old_root == EMPTY_HASH)
    if not 0 < old < size:
        return False
    path = [old_root, *proof] if old & (old - 1) == 0 else [*proof]
    if not path:
        return False
    inner, outer = old - 1, size - 1
    while inner & 1:
        inner, outer = inner >> 1, outer >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if outer == 0:
            return False
        if inner & 1 or inner == outer:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not inner & 1 and inner:
                inner, outer = inner >> 1, outer >> 1
        else:
            second = node_hash(second, sibling)
        inner, outer = inner >> 1, outer >> 1
    return outer == 0 and (first, second) == (old_root, new_root)
