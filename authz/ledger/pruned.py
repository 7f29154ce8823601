"""What stays of a segment whose entries were deleted: enough for everything else to verify as before.

    entries/00000000.pruned     {"entries": how many, "opening": of segment 0, the log's first ones,
                                 "key": the last `key` entry with a certificate, if there is one}
    tile/1/<N>[.p/<W>]          the hashes over each 256 of them, and
    tile/0/<M>.p/<W>            the leaf hashes of the last ones that are no 256 (tiles.py); of segment 0 also
                                its first 256, under which the opening stands

Nothing of it is believed: the hashes count if they lead to a signed root, the opening if it is under them,
and that entries may be missing says only a `prune` entry of the control log. In: a log's directory, a
segment's number. Called by retention, by the verifier and by whoever reads openings. No key here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from authz import canonical
from authz.ledger import files, form, merkle, tiles
from authz.ledger.journal import SEGMENT_ENTRIES, Disk, segment_name
from authz.ledger.tiles import HASH_BYTES, HEIGHT, WIDTH, Tile

MAX_OPENING: Final = 32  # entries that are kept of segment 0
MAX_MARKER: Final = (MAX_OPENING + 2) * 2 * form.MAX_ENTRY  # bytes


class Marker(Struct, frozen=True):
    """`entries`: how many the segment had; `opening`: the first of them, of segment 0 only. `key`: the last
    hand-over in it that brings a certificate, by which later entries may be attested; b"" without one.
    """

    entries: int
    opening: tuple[bytes, ...] = ()
    key: bytes = b""


def marker_file(log: Path, number: int) -> Path:
    return log / "entries" / f"{number:08d}{files.PRUNED}"


def read(log: Path, number: int) -> Marker:
    """Raises ValueError for what is no marker, OSError."""
    return read_file(marker_file(log, number))


def read_file(file: Path) -> Marker:
    """The same by the marker's file."""
    with files.open_regular(file) as stream:
        data = stream.read(MAX_MARKER + 1)
    members = canonical.parse(data.removesuffix(b"\n"))
    entries, opening, key = members.get("entries"), members.get("opening", []), members.get("key", "")
    if members.keys() - {"entries", "opening", "key"} or type(entries) is not int or type(key) is not str:
        raise ValueError("not the marker of a pruned segment")
    if not 0 < entries <= SEGMENT_ENTRIES or not isinstance(opening, list):
        raise ValueError("not the marker of a pruned segment")
    if len(opening) > MAX_OPENING or not all(isinstance(entry, str) for entry in opening):
        raise ValueError("not the marker of a pruned segment")
    return Marker(entries, tuple(entry.encode() for entry in opening), key.encode())


def opening(log: Path) -> tuple[bytes, ...]:
    """The log's first entries as its marker has them; none if that is not a marker. Raises OSError."""
    try:
        return read(log, 0).opening
    except (ValueError, FileNotFoundError):
        return ()


def tree(log: Path, number: int, marker: Marker) -> merkle.CompactRange:
    """The subtree over the segment, of the hashes that stayed. Raises ValueError if some are missing, or if
    the opening is not under them; OSError.
    """
    blocks, rest = divmod(marker.entries, WIDTH)
    found = merkle.CompactRange()
    nodes = _hashes(log, Tile(1, number, blocks)) if blocks else []
    for node in nodes:
        found.push(node, HEIGHT)
    leaves = _hashes(log, Tile(0, number * WIDTH + blocks, rest)) if rest else []
    for leaf in leaves:
        found.append(leaf)
    if marker.opening:
        first = _hashes(log, Tile(0, number * WIDTH)) if blocks else leaves
        if blocks and merkle.root(first) != nodes[0]:
            raise ValueError("tile/0: not under the hashes that stayed of the segment")
        if [merkle.leaf_hash(entry) for entry in marker.opening] != first[: len(marker.opening)]:
            raise ValueError("opening: not the entries that the log began with")
    return found


def keep(log: Path, number: int, entries: int, disk: Disk) -> Marker:
    """Write down, durably, what stays of segment `number` with its `entries`; its file is still there.

    Raises ValueError if the file does not hold exactly these, OSError.
    """
    lines = _lines(log / "entries" / segment_name(number * SEGMENT_ENTRIES), entries)
    leaves = [merkle.leaf_hash(line) for line in lines]
    blocks, rest = divmod(entries, WIDTH)
    rows = [leaves[place : place + WIDTH] for place in range(0, blocks * WIDTH, WIDTH)]
    if blocks:
        _write(log / Tile(1, number, blocks).name, b"".join(map(merkle.root, rows)), disk)
    if rest:
        last = Tile(0, number * WIDTH + blocks, rest)
        _write(log / last.name, b"".join(leaves[blocks * WIDTH :]), disk)
    if blocks and number == 0:
        _write(log / Tile(0, 0).name, b"".join(rows[0]), disk)
    marker = Marker(entries, _opening(lines) if number == 0 else (), _key(lines))
    members: dict[str, Any] = {"entries": entries}
    if marker.opening:
        members["opening"] = [entry.decode() for entry in marker.opening]
    if marker.key:
        members["key"] = marker.key.decode()
    _write(marker_file(log, number), canonical.encode(members) + b"\n", disk)
    return marker


def _opening(lines: list[bytes]) -> tuple[bytes, ...]:
    """`open`, and the `gap` entries right after it."""
    found = lines[:1]
    for line in lines[1:MAX_OPENING]:
        if canonical.parse(line).get("kind") != "gap":
            break
        found.append(line)
    return tuple(found)


def _key(lines: list[bytes]) -> bytes:
    """The last hand-over that brings a certificate."""
    handed = (line for line in reversed(lines) if b'"kind":"key"' in line)
    return next((line for line in handed if "certificate" in canonical.parse(line)), b"")


def _lines(file: Path, entries: int) -> list[bytes]:
    with files.open_regular(file) as stream:
        lines = list(files.lines(stream))
    if len(lines) != entries or not all(line.endswith(b"\n") for line in lines):
        raise ValueError(f"{file}: not {entries} whole lines")
    return [line[:-1] for line in lines]


def _hashes(log: Path, tile: Tile) -> list[bytes]:
    data = tiles.read(log, tile)
    if data is None:
        raise ValueError(f"{tile.name}: missing, and the segment was pruned")
    return [data[place : place + HASH_BYTES] for place in range(0, len(data), HASH_BYTES)]


def _write(file: Path, data: bytes, disk: Disk) -> None:
    """`file` holds `data` or what it held before, and its name is durable."""
    for parent in (file.parent.parent, file.parent):
        if not parent.is_dir():
            parent.mkdir(parents=True, mode=0o750)
            disk.sync_directory(parent.parent)
    beside = file.with_name(f".{file.name}.new")
    with beside.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(file)
    disk.sync_directory(file.parent)
