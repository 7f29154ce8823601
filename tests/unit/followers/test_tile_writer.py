"""Tiles as a follower writes them: those of the tree, few files, and never more than a convenience."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from authz.followers.tile_writer import TileWriter
from authz.ledger import merkle, notes, tiles
from authz.ledger.tiles import WIDTH, Tile
from authz.ledger.tree import Tree
from tests import ledgers
from tests.workers import Worker, decision

LEAVES = [merkle.leaf_hash(b"%d" % number) for number in range(70_000)]


def written(log: Path, sizes: list[int]) -> list[str]:
    """Leaves up to each of `sizes`, a flush after each; the names of the files then there."""
    writer, size = TileWriter(log), 0
    for upto in sizes:
        for leaf in LEAVES[size:upto]:
            writer.append(leaf)
        writer.flush()
        size = upto
    return sorted(str(path.relative_to(log)) for path in log.rglob("*") if path.is_file())


def data(log: Path, tile: Tile) -> bytes:
    return (log / tile.name).read_bytes()


def test_full_tiles_and_the_last_ones_above_are_there(tmp_path: Path) -> None:
    names = written(tmp_path, [70_000])
    assert len(names) == 273 + 1 + 1 + 1
    assert names[-3:] == ["tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"]
    assert data(tmp_path, Tile(0, 272)) == b"".join(LEAVES[272 * WIDTH : 273 * WIDTH])
    roots = [merkle.root(LEAVES[start : start + WIDTH]) for start in range(0, 273 * WIDTH, WIDTH)]
    assert data(tmp_path, Tile(1, 0)) + data(tmp_path, Tile(1, 1, 17)) == b"".join(roots)
    assert data(tmp_path, Tile(2, 0, 1)) == merkle.root(LEAVES[: 1 << 16])


@pytest.mark.parametrize(
    ("sizes", "above"),
    [
        ([255], []),
        ([256], ["tile/1/000.p/1"]),
        ([256, 257, 500], ["tile/1/000.p/1"]),
        ([300, 600, 1000, 1024], ["tile/1/000.p/4"]),
        ([65_535, 65_536], ["tile/1/000", "tile/2/000.p/1"]),
        ([65_280, 65_536, 66_000], ["tile/1/000", "tile/1/001.p/1", "tile/2/000.p/1"]),
    ],
)
def test_a_part_is_there_until_a_wider_one_is(tmp_path: Path, sizes: list[int], above: list[str]) -> None:
    names = [name for name in written(tmp_path, sizes) if not name.startswith("tile/0/")]
    assert names == above
    assert not (tmp_path / "tile/1/000.p").exists() or sizes[-1] < 65_536


def test_a_follower_that_starts_again_leaves_what_is_right_and_replaces_what_is_not(tmp_path: Path) -> None:
    written(tmp_path, [1000])
    kept, wrong, torn = (tmp_path / Tile(0, number).name for number in range(3))
    wrong.write_bytes(os.urandom(8192))
    torn.write_bytes(b"")
    (tmp_path / "tile/1/000.p/2").write_bytes(b"")  # of a process that was killed before it took it away
    before = kept.stat().st_mtime_ns, kept.stat().st_ino
    names = written(tmp_path, [1000])
    assert (kept.stat().st_mtime_ns, kept.stat().st_ino) == before
    assert wrong.read_bytes() == b"".join(LEAVES[256:512])
    assert torn.read_bytes() == b"".join(LEAVES[512:768])
    assert names == ["tile/0/000", "tile/0/001", "tile/0/002", "tile/1/000.p/3"]


def test_a_tile_that_cannot_be_written_is_missing_and_the_next_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "tile/0/001").mkdir(parents=True)
    (tmp_path / "tile/0/001/in-the-way").touch()
    names = written(tmp_path, [800])
    assert "tile/0/002" in names
    assert data(tmp_path, Tile(1, 0, 3))[32:64] == merkle.root(LEAVES[256:512])


async def test_what_a_follower_seals_has_its_tiles_and_verifies_with_them(worker: Worker) -> None:
    async with worker.running() as ledger:
        for size in (300, 700):
            while ledger.seq < size:
                await ledger.append("decision", decision(ledger.seq))
            worker.seal()
    epoch = worker.epochs[0]
    leaves = [merkle.leaf_hash(entry) for entry in ledgers.read(epoch)][:700]
    assert tiles.read(epoch, Tile(0, 1)) == b"".join(leaves[256:512])
    assert tiles.read(epoch, Tile(1, 0, 2)) == merkle.root(leaves[:256]) + merkle.root(leaves[256:512])
    note = notes.parse((epoch / "checkpoint").read_bytes())
    assert Tree(epoch, note.size, note.root).inclusion_proof(5)


async def test_a_disk_that_takes_no_tiles_stops_no_seal(worker: Worker) -> None:
    async with worker.running() as ledger:
        (worker.epochs[0] / "tile").write_text("in the way")
        while ledger.seq < 300:
            await ledger.append("decision", decision(ledger.seq))
        worker.seal()
        assert notes.parse((worker.epochs[0] / "checkpoint").read_bytes()).size == 300
