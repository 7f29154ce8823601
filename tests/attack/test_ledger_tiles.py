"""A stored tile that is not of the entries beside it: told by file and entry, and never believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from authz.followers.tile_writer import TileWriter
from authz.ledger import merkle
from authz.ledger.tiles import Tile
from tests import ledgers


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two segments and more, with their tiles."""
    root = tmp_path_factory.mktemp("long")
    write_tiles(ledgers.write_long(root, 2 * 65_536 + 1000))
    return root


def write_tiles(epoch: Path) -> None:
    writer = TileWriter(epoch)
    for entry in ledgers.read(epoch):
        writer.append(merkle.leaf_hash(entry))
    writer.flush()


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


@pytest.fixture
def epoch(tmp_path: Path) -> Path:
    made = ledgers.write(tmp_path, 600)
    write_tiles(made)
    return made


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize(
    ("tile", "place", "seq"),
    [(Tile(0, 0), 0, 0), (Tile(0, 1), 8191, 511), (Tile(1, 0, 2), 33, 256)],
)
def test_one_bit_of_a_tile_is_told(epoch: Path, level: int, tile: Tile, place: int, seq: int) -> None:
    assert ledgers.check(epoch.parent.parent, level).verified
    flip(epoch / tile.name, place)
    fault = ledgers.found(epoch.parent.parent, level)
    assert (fault.what, fault.file, fault.seq) == (
        "tile: its hashes are not those of the entries",
        str(epoch / tile.name),
        seq,
    )


@pytest.mark.parametrize(
    ("tile", "place", "seq"),
    [
        (Tile(0, 300), 40, 300 * 256 + 1),
        (Tile(1, 1), 32, 65_536 + 256),
        (Tile(1, 2, 3), 0, 2 * 65_536),
        (Tile(2, 0, 2), 32, 65_536),
    ],
)
def test_tiles_of_later_segments_and_above_are_looked_at(
    long_log: Path, tile: Tile, place: int, seq: int
) -> None:
    file = long_log / "worker-0" / ledgers.EPOCH / tile.name
    assert ledgers.check(long_log, level=2).verified
    flip(file, place)
    try:
        fault = ledgers.found(long_log, level=2)
        assert (fault.file, fault.seq) == (str(file), seq)
    finally:
        flip(file, place)


def test_a_wrong_part_beside_the_right_tile_is_told(epoch: Path) -> None:
    part = epoch / Tile(0, 0, 5).name
    part.parent.mkdir()
    part.write_bytes(os.urandom(160))
    assert ledgers.found(epoch.parent.parent).file == str(part)


def test_what_is_no_tile_of_these_entries_says_nothing_and_that_is_said(epoch: Path) -> None:
    """Cut short by a machine that stopped, of entries that came later, or strange altogether."""
    (epoch / Tile(0, 0).name).write_bytes(b"")
    (epoch / Tile(0, 2).name).write_bytes(bytes(8192))
    (epoch / "tile/0/x").write_bytes(b"")
    report = ledgers.check(epoch.parent.parent)
    assert report.verified
    assert "tile/: what is no tile of these entries" in report.logs[0].not_checked


def test_a_changed_entry_is_told_before_its_tile(epoch: Path) -> None:
    ledgers.edit(epoch, lambda entries: entries.__setitem__(5, entries[5].replace(b"allow", b"deny!")))
    fault = ledgers.found(epoch.parent.parent)
    assert (Path(fault.file).name, fault.line, fault.seq) == ("00000000.jsonl", 6, 5)
