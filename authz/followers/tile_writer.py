"""Writes the hash tiles of one epoch as its entries are read, so that a proof need not hash them all again.

    full tiles               as soon as they are full, at every level
    above level 0            what there is of the last tile, once a round

In: leaf hashes in order. Out: files below `tile/` (C2SP tlog-tiles). Called by the sealing follower. Tiles
can be made again from the entries, so none is synced and none is believed; one that cannot be written is
missing, and nothing waits for it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import structlog

from authz.ledger import merkle, tiles
from authz.ledger.tiles import WIDTH, Tile

log = structlog.get_logger(__name__)


class TileWriter:
    """Of the log in the directory `epoch`, from its first entry on."""

    def __init__(self, epoch: Path) -> None:
        self._epoch = epoch
        self._rows: list[list[bytes]] = [[]]  # by level: the hashes of the last tile, which is not full
        self._numbers = [0]  # by level: of that tile
        self._changed: set[int] = set()  # levels
        self._failing = False

    def append(self, leaf: bytes) -> None:
        self._rows[0].append(leaf)
        if len(self._rows[0]) == WIDTH:
            self._complete(0)

    def flush(self) -> None:
        """Write what there is of the tiles above level 0."""
        for level in sorted(self._changed):
            row = self._rows[level]
            if row:
                self._write(Tile(level, self._numbers[level], len(row)), row)
                self._clear(Tile(level, self._numbers[level]), but=len(row))
        self._changed.clear()

    def _complete(self, level: int) -> None:
        row, number = self._rows[level], self._numbers[level]
        self._write(Tile(level, number), row)
        if level:
            self._clear(Tile(level, number), but=0)
        self._rows[level], self._numbers[level] = [], number + 1
        if level + 1 == len(self._rows):
            self._rows.append([])
            self._numbers.append(0)
        self._rows[level + 1].append(merkle.root(row))
        self._changed.add(level + 1)
        if len(self._rows[level + 1]) == WIDTH:
            self._complete(level + 1)

    def _write(self, tile: Tile, row: list[bytes]) -> None:
        file, data = self._epoch / tile.name, b"".join(row)
        try:
            if tiles.read_exactly(self._epoch, tile) != data:
                file.parent.mkdir(parents=True, exist_ok=True)
                beside = file.with_name(f".{file.name}.new")
                beside.write_bytes(data)
                beside.replace(file)
        except OSError as error:
            if not self._failing:
                log.warning("tile_not_written", file=str(file), error=error.strerror)
            self._failing = True
        else:
            self._failing = False

    def _clear(self, full: Tile, but: int) -> None:
        """Remove the parts of a tile that a wider one has in it."""
        for part in tiles.stored(self._epoch, full.level, full.number):
            if part.width not in (WIDTH, but):
                with suppress(OSError):
                    (self._epoch / part.name).unlink()
        if not but:
            with suppress(OSError):
                os.rmdir(self._epoch / (full.name + ".p"))
