"""The tree out of tiles and entries: the same hashes whatever is stored, and none that leads elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from authz.errors import IntegrityViolation
from authz.ledger import merkle, tiles
from authz.ledger.tiles import ENTRIES, WIDTH, Tile
from authz.ledger.tree import Tree
from tests import ledgers

STORED = [f"entry {number}".encode() for number in range(700)]
LEAVES = [merkle.leaf_hash(entry) for entry in STORED]
SIZES = [1, 2, 255, 256, 257, 511, 512, 513, 700]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    ledgers.store(tmp_path, STORED)
    return tmp_path


def tree_of(log: Path, size: int, older: Tree | None = None) -> Tree:
    return Tree(log, size, merkle.root(LEAVES[:size]), older)


def full_tiles(size: int) -> dict[Tile, bytes]:
    """By the definition: level 0 whole, and what level 1 has."""
    found = {
        Tile(0, number): b"".join(LEAVES[number * WIDTH : (number + 1) * WIDTH])
        for number in range(size // WIDTH)
    }
    roots = [merkle.root(tiles.hashes(data)) for data in found.values()]
    return found | {Tile(1, 0, len(roots)): b"".join(roots)} if roots else found


def put(log: Path, stored: dict[Tile, bytes]) -> None:
    for tile, data in stored.items():
        (log / tile.name).parent.mkdir(parents=True, exist_ok=True)
        (log / tile.name).write_bytes(data)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stored", [False, True], ids=["from entries", "from tiles"])
def test_every_entry_and_every_beginning_is_proved(log: Path, size: int, stored: bool) -> None:
    if stored:
        put(log, full_tiles(700))
    tree, whole = tree_of(log, size), merkle.nodes(LEAVES[:size])
    for seq in {0, size // 3, size - 2 if size > 1 else 0, size - 1}:
        assert tree.entry(seq) == STORED[seq]
        assert tree.inclusion_proof(seq) == merkle.inclusion_proof(seq, size, whole)
    for old in {0, 1, size // 2, size - 1, size}:
        assert tree.consistency_proof(old) == merkle.consistency_proof(old, size, whole)


@pytest.mark.parametrize("size", SIZES)
def test_its_tiles_are_those_of_the_definition(log: Path, size: int) -> None:
    tree = tree_of(log, size)
    for tile, data in full_tiles(size).items():
        assert tree.tile(tile) == data
    if rest := size % WIDTH:
        for width in {1, rest}:
            tile = Tile(0, size // WIDTH, width)
            first = tile.number * WIDTH
            assert tree.tile(tile) == b"".join(LEAVES[first : first + width])
            entries = tree.tile(Tile(ENTRIES, tile.number, width))
            assert entries == tiles.bundle(STORED[first : first + width])


def test_a_client_with_an_older_checkpoint_finds_its_partial_tiles(log: Path) -> None:
    tree = tree_of(log, 700)
    assert tree.tile(Tile(0, 1, 3)) == b"".join(LEAVES[256:259])
    assert tree.tile(Tile(ENTRIES, 1, 3)) == tiles.bundle(STORED[256:259])


@pytest.mark.parametrize(
    "tile",
    [Tile(0, 2), Tile(0, 2, 189), Tile(0, 3, 1), Tile(1, 0, 3), Tile(1, 1, 1), Tile(2, 0, 1), Tile(-1, 3)],
)
def test_a_tile_beyond_the_checkpoint_is_not_there(log: Path, tile: Tile) -> None:
    with pytest.raises(IndexError):
        tree_of(log, 700).tile(tile)


def test_there_is_no_entry_or_proof_beyond_the_checkpoint(log: Path) -> None:
    tree = tree_of(log, 300)
    for seq in (-1, 300):
        with pytest.raises(IndexError):
            tree.entry(seq)
        with pytest.raises(IndexError):
            tree.inclusion_proof(seq)
    with pytest.raises(IndexError):
        tree.consistency_proof(301)


def test_a_tree_takes_over_from_the_one_before(log: Path) -> None:
    tree = None
    for size in SIZES:
        tree = tree_of(log, size, tree)
        whole = merkle.nodes(LEAVES[:size])
        assert tree.inclusion_proof(size // 2) == merkle.inclusion_proof(size // 2, size, whole)


def test_what_was_taken_over_from_another_history_does_not_stay(log: Path) -> None:
    """A log key may sign two histories; then what is on disk decides which one is proved."""
    old = tree_of(log, 700)
    old.inclusion_proof(0)
    ledgers.store(log, [b"another", *STORED[1:]])
    leaves = [merkle.leaf_hash(b"another"), *LEAVES[1:]]
    tree = Tree(log, 700, merkle.root(leaves), old)
    assert tree.inclusion_proof(1) == merkle.inclusion_proof(1, 700, merkle.nodes(leaves))


def test_stored_tiles_that_are_wrong_change_nothing(log: Path) -> None:
    put(log, {tile: os.urandom(len(data)) for tile, data in full_tiles(700).items()})
    tree = tree_of(log, 700)
    for tile, data in full_tiles(700).items():
        assert tree.tile(tile) == data
    assert tree.inclusion_proof(5) == merkle.inclusion_proof(5, 700, merkle.nodes(LEAVES))


def test_one_wrong_tile_among_right_ones_changes_nothing(log: Path) -> None:
    right = full_tiles(700)
    put(log, right | {Tile(0, 1): os.urandom(8192)})
    assert tree_of(log, 700).tile(Tile(0, 1)) == right[Tile(0, 1)]


def test_entries_that_do_not_lead_to_the_root_are_a_violation(log: Path) -> None:
    with pytest.raises(IntegrityViolation, match="the root over 700 entries is not the one that was signed"):
        Tree(log, 700, bytes(32))
    with pytest.raises(IntegrityViolation, match="line 701, seq 700: the entry is missing"):
        Tree(log, 701, bytes(32))


def test_an_entry_that_is_not_the_one_under_the_checkpoint_is_a_violation(log: Path) -> None:
    """Right tiles beside it: the root comes out right, and the entry is looked at all the same."""
    put(log, full_tiles(700))
    ledgers.edit(log, lambda entries: entries.__setitem__(300, b"entry 3OO"))
    tree = tree_of(log, 700)
    for wrong in (lambda: tree.entry(300), lambda: tree.tile(Tile(ENTRIES, 1))):
        with pytest.raises(IntegrityViolation, match=r"line 301, seq 300: from here on"):
            wrong()
    assert tree.entry(299) == STORED[299]


def test_without_right_tiles_the_tile_with_the_wrong_entry_is_a_violation(log: Path) -> None:
    tree = tree_of(log, 700)
    ledgers.edit(log, lambda entries: entries.__setitem__(300, b"entry 3OO"))
    with pytest.raises(IntegrityViolation, match=r"line 257, seq 256: from here on"):
        tree.tile(Tile(0, 1))
    assert tree.tile(Tile(0, 0))


def test_an_empty_tree_has_no_tiles_and_the_empty_root(log: Path) -> None:
    tree = Tree(log, 0, merkle.EMPTY_HASH)
    with pytest.raises(IndexError):
        tree.tile(Tile(0, 0, 1))
    assert tree.consistency_proof(0) == []
    with pytest.raises(IntegrityViolation):
        Tree(log, 0, bytes(32))


def test_entries_that_lie_about_their_numbers_are_found_all_the_same(tmp_path: Path) -> None:
    """Somebody changed numbers in lines that nobody asks for: what is whole is still proved."""
    epoch = ledgers.write_long(tmp_path, 3000)
    entries = ledgers.read(epoch)
    leaves = [merkle.leaf_hash(entry) for entry in entries]
    put(
        epoch,
        {Tile(0, number): b"".join(leaves[number * WIDTH : (number + 1) * WIDTH]) for number in range(11)},
    )
    ledgers.edit(epoch, lambda stored: stored.__setitem__(slice(256, 512), [b'{"seq":2999}'] * 256))
    row = [merkle.root(leaves[start : start + WIDTH]) for start in range(0, 2816, WIDTH)]
    put(epoch, {Tile(1, 0, 11): b"".join(row)})
    tree = Tree(epoch, 3000, merkle.root(leaves))
    assert [tree.entry(seq) for seq in (5, 700, 2999)] == [entries[seq] for seq in (5, 700, 2999)]
    with pytest.raises(IntegrityViolation, match="seq 300: from here on"):
        tree.entry(300)
