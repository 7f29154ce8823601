"""Whether the tiles that lie in a log's directory are those of its entries.

In: a log's directory, a row of hashes that were computed. Out: the first tile that has another one. Called by
the verifier for each segment (levels 0 and 1), and for the whole log (above). What is no whole tile, or is of
entries that are not here, says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from authz.ledger import merkle, tiles
from authz.ledger.report import Fault
from authz.ledger.tiles import HASH_BYTES, HEIGHT, WIDTH, Tile


def odd(log: Path, level: int, first: int, hashes: Sequence[bytes]) -> Fault | None:
    """The first stored tile at `level` that is not of `hashes`, which begin with number `first`, a multiple
    of 256.
    """
    if not (log / "tile" / str(level)).is_dir():
        return None
    for start in range(0, len(hashes), WIDTH):
        row = b"".join(hashes[start : start + WIDTH])
        for tile in tiles.stored(log, level, (first + start) // WIDTH):
            data = tiles.read_exactly(log, tile)
            if data is not None and len(data) <= len(row) and not row.startswith(data):
                return _fault(log, tile, data, row)
    return None


def odd_above(log: Path, segments: Sequence[bytes]) -> Fault | None:
    """The first odd tile at level 2 or above, given the roots of all full segments."""
    level, row = 2, list(segments)
    while row:
        if fault := odd(log, level, 0, row):
            return fault
        full = len(row) // WIDTH * WIDTH
        row = [merkle.root(row[start : start + WIDTH]) for start in range(0, full, WIDTH)]
        level += 1
    return None


def _fault(log: Path, tile: Tile, data: bytes, row: bytes) -> Fault:
    places = range(0, len(data), HASH_BYTES)
    wrong = next(
        place for place in places if data[place : place + HASH_BYTES] != row[place : place + HASH_BYTES]
    )
    seq = (tile.number * WIDTH + wrong // HASH_BYTES) << HEIGHT * tile.level
    return Fault("tile: its hashes are not those of the entries", str(log / tile.name), seq=seq)
