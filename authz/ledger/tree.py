"""The tree of one log under one checkpoint: hashes, tiles, bundles and proofs, all of which lead to its root.

    edge    for each level of tiles, the hashes right of the last full tile: together they make the root, and
            that is compared with the signed one
    tile    a full one counts once its root is the hash that a tile above it, or the edge, has for it

In: a log's directory, size and root of a checkpoint whose signature was checked. Out: bytes. Called by
whoever proves or publishes, by one thread at a time. Tiles that are stored spare the work of hashing entries;
where there is none, or it does not lead to the root, the entries are hashed. If those do not, that is an
IntegrityViolation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from authz.errors import IntegrityViolation
from authz.ledger import merkle, tiles
from authz.ledger.stored import Stored
from authz.ledger.tiles import HASH_BYTES, HEIGHT, WIDTH, Tile

MAX_KEPT: Final = 1024  # full tiles in memory, of 8 KiB each


class Tree:
    """`root`: of the first `size` entries, as it was signed. `older`: the same log's tree under an earlier
    checkpoint, whose tiles are taken over.

    Whatever it is asked raises IntegrityViolation if the stored entries do not lead to the signed root,
    OSError, and Deleted (an IndexError) where that needs entries that were deleted by the rules of retention.
    """

    def __init__(self, directory: Path, size: int, root: bytes, older: Tree | None = None) -> None:
        self.directory, self.size, self.root = directory, size, root
        self._stored = Stored(directory)
        self._kept: dict[bytes, bytes] = older._kept if older else {}  # full tiles by their roots
        self._edge = self._edges(believing=True)
        if self._root() != root:
            self._edge = self._edges(believing=False)
        if self._root() != root:
            what = f"the root over {size} entries is not the one that was signed"
            raise IntegrityViolation(what, file=str(directory / "entries"))

    def entry(self, seq: int) -> bytes:
        """The stored entry, if it is the one under the checkpoint. Raises IndexError for none."""
        (entry,) = self._entries(seq, seq + 1, self.leaf(seq))
        return entry

    def leaf(self, seq: int) -> bytes:
        """The leaf hash of entry `seq`. Raises IndexError for none."""
        if not 0 <= seq < self.size:
            raise IndexError(f"no entry {seq} in a tree of {self.size}")
        return self._hash(0, seq)

    def range(self, size: int) -> merkle.CompactRange:
        """The tree as it was when it had `size` entries, to be gone on with. Raises IndexError for more than
        there are.
        """
        if not 0 <= size <= self.size:
            raise IndexError(f"no tree of {size} below one of {self.size}")
        tree = merkle.CompactRange()
        for level, index in merkle.subtrees(0, size):
            tree.push(self._node(level, index), level)
        return tree

    def inclusion_proof(self, seq: int) -> list[bytes]:
        """Sibling hashes of entry `seq` from the leaf upward. Raises IndexError for none."""
        return merkle.inclusion_proof(seq, self.size, self._node)

    def consistency_proof(self, old: int) -> list[bytes]:
        """Why this tree goes on from that of the first `old` entries. Raises IndexError if it is smaller."""
        return merkle.consistency_proof(old, self.size, self._node)

    def tile(self, tile: Tile) -> bytes:
        """The bytes of a tile of hashes or of entries. Raises IndexError for what this tree does not have."""
        level = max(tile.level, 0)
        if tile.number * WIDTH + tile.width > self.size >> HEIGHT * level:
            raise IndexError(f"no {tile.name} in a tree of {self.size}")
        hashes = self._tile(level, tile.number)[: tile.width * HASH_BYTES]
        return self._bundle(tile, hashes) if tile.level == tiles.ENTRIES else hashes

    def _bundle(self, tile: Tile, leaves: bytes) -> bytes:
        first = tile.number * WIDTH
        return tiles.bundle(self._entries(first, first + tile.width, leaves))

    def _entries(self, start: int, end: int, leaves: bytes) -> list[bytes]:
        """The stored entries whose hashes are `leaves`."""
        wrong = start
        for counted in (False, True):
            entries = list(self._stored.entries(start, end, counted=counted))
            hashes = enumerate(tiles.hashes(leaves))
            wrong = next((place for place, leaf in hashes if merkle.leaf_hash(entries[place]) != leaf), -1)
            if wrong < 0:
                return entries
        raise self._wrong(start + wrong)

    def _node(self, level: int, index: int) -> bytes:
        """The perfect subtree number `index` of height `level`."""
        row, height = divmod(level, HEIGHT)
        first = index << height
        data = self._tile(row, first // WIDTH)
        place = first % WIDTH
        return merkle.root(tiles.hashes(data)[place : place + (1 << height)])

    def _hash(self, level: int, index: int) -> bytes:
        """Hash number `index` of the tiles at `level`."""
        place = index % WIDTH * HASH_BYTES
        return self._tile(level, index // WIDTH)[place : place + HASH_BYTES]

    def _tile(self, level: int, number: int) -> bytes:
        """All that there is of a tile."""
        if number == self.size >> HEIGHT * (level + 1):
            return self._edge[level]
        root = self._hash(level + 1, number)
        data = self._kept.pop(root, None) or self._full(Tile(level, number), root)
        self._kept[root] = data
        if len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        return data

    def _full(self, tile: Tile, root: bytes) -> bytes:
        for believing in (True, False):
            data = self._made(tile, believing=believing)
            if merkle.root(tiles.hashes(data)) == root:
                return data
        raise self._wrong(tile.number << HEIGHT * (tile.level + 1))

    def _wrong(self, seq: int) -> IntegrityViolation:
        return self._stored.fault("from here on the entries are not those that were signed", seq)

    # -- before anything is known to be right

    def _edges(self, *, believing: bool) -> list[bytes]:
        """For each level the hashes behind the last full tile."""
        edges: list[bytes] = []
        while count := self.size >> HEIGHT * len(edges):
            tile = Tile(len(edges), count // WIDTH, count % WIDTH)
            edges.append(self._made(tile, believing=believing) if tile.width else b"")
        return edges

    def _root(self) -> bytes:
        tree = merkle.CompactRange()
        for level in reversed(range(len(self._edge))):
            for node in tiles.hashes(self._edge[level]):
                tree.push(node, HEIGHT * level)
        return tree.root()

    def _made(self, tile: Tile, *, believing: bool) -> bytes:
        """The hashes of `tile`, as they are stored if `believing`, or else from the entries."""
        found = tiles.read(self.directory, tile) if believing else None
        if found is not None:
            return found
        first = tile.number * WIDTH
        if tile.level < 2:  # the leaves of a whole row of tiles in one go
            each = WIDTH**tile.level
            leaves = self._stored.leaves(first * each, (first + tile.width) * each, counted=not believing)
            return b"".join(leaves if tile.level == 0 else (merkle.root(row) for row in _rows(leaves)))
        below = (Tile(tile.level - 1, first + place) for place in range(tile.width))
        return b"".join(merkle.root(tiles.hashes(self._made(each, believing=believing))) for each in below)


def _rows(leaves: list[bytes]) -> list[list[bytes]]:
    return [leaves[place : place + WIDTH] for place in range(0, len(leaves), WIDTH)]
