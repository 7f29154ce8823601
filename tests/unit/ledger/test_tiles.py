"""Names and bytes of tiles: C2SP's own examples, one name for each, and nothing read that is not whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.ledger import tiles
from authz.ledger.tiles import ENTRIES, WIDTH, Tile


@pytest.mark.parametrize(
    ("tile", "name"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(1, 1000), "tile/1/x001/000"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(0, 273, 112), "tile/0/273.p/112"),
        (Tile(ENTRIES, 1234067, 1), "tile/entries/x001/x234/067.p/1"),
    ],
)
def test_a_tile_has_the_name_that_the_specification_gives(tile: Tile, name: str) -> None:
    assert tile.name == name
    assert tiles.parse(name) == tile


@given(st.integers(-1, tiles.MAX_LEVEL), st.integers(0, 10**18 - 1), st.integers(1, WIDTH))
def test_names_are_read_back(level: int, number: int, width: int) -> None:
    tile = Tile(level, number, width)
    assert tiles.parse(tile.name) == tile


@pytest.mark.parametrize(
    "name",
    [
        "",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/X001/002",
        "tile/00/000",
        "tile/8/000",
        "tile/-1/000",
        "tile/entries",
        "tile/Entries/000",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000/",
        "tile/0/000\n",
        "/tile/0/000",
        "tile//000",
        "tile/0/../0/000",
        "tile/0/..",
        "tile/0/٠٠٠",
        "tile/0/" + "x001/" * 20 + "001",
        "checkpoint",
    ],
)
def test_every_other_name_is_no_tile(name: str) -> None:
    assert tiles.parse(name) is None


def put(log: Path, tile: Tile, data: bytes) -> None:
    (log / tile.name).parent.mkdir(parents=True, exist_ok=True)
    (log / tile.name).write_bytes(data)


def test_a_tile_is_read_out_of_a_wider_one(tmp_path: Path) -> None:
    row = os.urandom(WIDTH * 32)
    assert tiles.read(tmp_path, Tile(1, 2, 3)) is None
    put(tmp_path, Tile(1, 2, 5), row[: 5 * 32])
    put(tmp_path, Tile(1, 2, 4), row[: 4 * 32])
    assert tiles.read(tmp_path, Tile(1, 2, 3)) == row[: 3 * 32]
    assert tiles.read(tmp_path, Tile(1, 2, 5)) == row[: 5 * 32]
    assert tiles.read(tmp_path, Tile(1, 2, 6)) is None
    put(tmp_path, Tile(1, 2), row)
    assert tiles.read(tmp_path, Tile(1, 2, 6)) == row[: 6 * 32]
    assert tiles.read(tmp_path, Tile(1, 2)) == row


@pytest.mark.parametrize("length", [0, 31, 8191, 8193, 1 << 20])
def test_a_file_of_another_length_is_no_tile(tmp_path: Path, length: int) -> None:
    put(tmp_path, Tile(0, 0), bytes(length))
    assert tiles.read(tmp_path, Tile(0, 0)) is None


def test_a_link_a_directory_or_a_file_in_the_way_is_no_tile(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(bytes(8192))
    (tmp_path / "tile/0/001").mkdir(parents=True)
    (tmp_path / "tile/0/000").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "tile/1").write_bytes(b"")
    for tile in (Tile(0, 0), Tile(0, 1), Tile(1, 0), Tile(1, 0, 5)):
        assert tiles.read(tmp_path, tile) is None


def test_a_bundle_is_entries_behind_their_lengths() -> None:
    assert tiles.bundle([b"", b"ab", b"c" * 300]) == b"\0\0" + b"\0\2ab" + b"\1\x2c" + b"c" * 300
    with pytest.raises(OverflowError):
        tiles.bundle([bytes(65_536)])
