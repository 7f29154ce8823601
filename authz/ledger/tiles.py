"""Tiles: the hashes of a tree, and the entries under it, 256 at a time (c2sp.org/tlog-tiles).

    tile/<L>/<N>[.p/<W>]          W hashes of 32 bytes, 256 without `.p`; at level 0 leaf hashes, above each
                                  the root of a full tile of the level below
    tile/entries/<N>[.p/<W>]      uint16-BE length || entry, W times

N is written in groups of three digits, all but the last with a leading x: 1234067 is x001/x234/067. In and
out: names and bytes. Called by whoever makes, serves, reads or checks tiles. A stored tile is never believed:
it counts if it leads to a signed root.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from authz.ledger import files

HEIGHT: Final = 8  # levels of the tree in one tile
WIDTH: Final = 1 << HEIGHT
HASH_BYTES: Final = 32
MAX_LEVEL: Final = 7  # with it 2^64 entries
MAX_NAME: Final = 64  # characters
ENTRIES: Final = -1  # the level of tiles that hold entries

_NAME: Final = re.compile(r"tile/(entries|[0-7])/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_PART: Final = re.compile(r"[1-9][0-9]{0,2}")
# What stands for a file that cannot be one: a directory, a link, a part of the path that is a file.
_NO_FILE: Final = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)


class Tile(Struct, frozen=True):
    """The first `width` of the 256 hashes from number `number * 256` on at `level`, or entries."""

    level: int
    number: int
    width: int = WIDTH

    @property
    def name(self) -> str:
        """Its path below the log."""
        digits = f"{self.number:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        *high, low = (digits[place : place + 3] for place in range(0, len(digits), 3))
        level = "entries" if self.level == ENTRIES else str(self.level)
        part = "" if self.width == WIDTH else f".p/{self.width}"
        return "/".join(("tile", level, *(f"x{group}" for group in high), low)) + part


def parse(name: str) -> Tile | None:
    """The tile that is called exactly `name`; None for everything else."""
    found = _NAME.fullmatch(name) if len(name) <= MAX_NAME and name.isascii() else None
    if found is None:
        return None
    level = ENTRIES if found[1] == "entries" else int(found[1])
    tile = Tile(level, int(found[2].replace("/x", "").replace("/", "").lstrip("x")), int(found[3] or WIDTH))
    return tile if tile.width <= WIDTH and tile.name == name else None


def read(log: Path, tile: Tile) -> bytes | None:
    """The stored hashes of `tile` in the log's directory, out of the file of a wider one if need be; None if
    there is none of the right length.
    """
    for wider in stored(log, tile.level, tile.number):
        data = read_exactly(log, wider) if wider.width >= tile.width else None
        if data is not None:
            return data[: tile.width * HASH_BYTES]
    return None


def read_exactly(log: Path, tile: Tile) -> bytes | None:
    """The stored hashes of `tile`; None if its file is not there, or of another length."""
    try:
        with files.open_regular(log / tile.name) as stream:
            data = stream.read(tile.width * HASH_BYTES + 1)
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise
    return data if len(data) == tile.width * HASH_BYTES else None


def stored(log: Path, level: int, number: int) -> Iterator[Tile]:
    """The full tile, which may or may not be stored, and the parts of it that are."""
    yield Tile(level, number)
    try:
        names = os.listdir(log / (Tile(level, number).name + ".p"))
    except OSError:
        return
    for name in sorted(names):
        if _PART.fullmatch(name) and int(name) < WIDTH:
            yield Tile(level, number, int(name))


def hashes(data: bytes) -> list[bytes]:
    """The hashes in a tile's bytes."""
    return [data[place : place + HASH_BYTES] for place in range(0, len(data), HASH_BYTES)]


def bundle(entries: Iterable[bytes]) -> bytes:
    """The bytes of a tile of entries. Raises OverflowError for an entry of 65,536 bytes or more."""
    return b"".join(len(entry).to_bytes(2) + entry for entry in entries)
