"""The tree: RFC 6962's definition, the published vectors, and proofs that cannot be bent."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.ledger import merkle, notes
from tests.unit.ledger import golden

VECTORS = Path(__file__).parents[2] / "vectors" / "ledger"


def by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + by_definition(leaves[:k]) + by_definition(leaves[k:])).digest()


def leaves(count: int) -> list[bytes]:
    return [merkle.leaf_hash(str(number).encode()) for number in range(count)]


def test_leaf_hashes_and_root_are_the_published_ones() -> None:
    expected = json.loads((VECTORS / "expected.json").read_bytes())
    entries = (VECTORS / "entries" / "00000000.jsonl").read_bytes().splitlines()
    found = [merkle.leaf_hash(entry) for entry in entries]
    assert [leaf.hex() for leaf in found] == expected["leaf_hashes"]
    assert merkle.root(found) == notes.parse((VECTORS / "checkpoint").read_bytes()).root


def test_the_published_proof_is_ours_and_leads_to_the_published_root() -> None:
    found = [merkle.leaf_hash(entry) for entry in golden.ENTRIES]
    checkpoint = notes.parse(golden.NOTE)
    assert merkle.root(found) == checkpoint.root
    assert merkle.inclusion_proof(golden.INDEX, 5, merkle.nodes(found)) == golden.PROOF
    leaf = found[golden.INDEX]
    assert merkle.root_from_inclusion(leaf, golden.INDEX, checkpoint.size, golden.PROOF) == checkpoint.root


@pytest.mark.parametrize("size", [*range(34), 255, 256, 257, 511, 512, 513, 700])
def test_the_root_is_the_definition_s_at_every_size(size: int) -> None:
    assert merkle.root(leaves(size)) == by_definition(leaves(size))
    tree = merkle.CompactRange()
    tree.extend(leaves(size)[:3])
    tree.extend(leaves(size)[3:])
    assert (tree.size, tree.root()) == (size, by_definition(leaves(size)))


@pytest.mark.parametrize("size", range(1, 20))
def test_every_leaf_has_a_proof_and_it_is_of_no_other_place(size: int) -> None:
    all_leaves = leaves(size)
    root = merkle.root(all_leaves)
    for index in range(size):
        proof = merkle.inclusion_proof(index, size, merkle.nodes(all_leaves))
        assert merkle.root_from_inclusion(all_leaves[index], index, size, proof) == root
        for other in range(size):
            if other != index:
                assert not _leads(all_leaves[index], other, size, proof, root)


def _leads(leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> bool:
    try:
        return merkle.root_from_inclusion(leaf, index, size, proof) == root
    except ValueError:
        return False


@given(st.integers(1, 40), st.data())
def test_a_bent_proof_leads_elsewhere(size: int, data: st.DataObject) -> None:
    all_leaves = leaves(size)
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, merkle.nodes(all_leaves))
    root = merkle.root(all_leaves)
    assert not _leads(all_leaves[index], index, size, [*proof, bytes(32)], root)
    assert not _leads(merkle.leaf_hash(b"other"), index, size, proof, root)
    if proof:
        where = data.draw(st.integers(0, len(proof) - 1))
        bent = [*proof[:where], merkle.leaf_hash(proof[where]), *proof[where + 1 :]]
        assert not _leads(all_leaves[index], index, size, bent, root)
        assert not _leads(all_leaves[index], index, size, proof[:-1], root)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3)])
def test_there_is_no_proof_for_a_leaf_outside_of_the_tree(index: int, size: int) -> None:
    with pytest.raises(IndexError):
        merkle.inclusion_proof(index, size, merkle.nodes(leaves(size)))
    with pytest.raises(ValueError, match="no leaf"):
        merkle.root_from_inclusion(bytes(32), index, size, [])


@given(st.integers(0, 5), st.integers(0, 8))
def test_ranges_of_full_segments_join_to_the_whole_tree(segments: int, rest: int) -> None:
    all_leaves = leaves(segments * 8 + rest)
    whole = merkle.CompactRange()
    for start in range(0, len(all_leaves), 8):
        part = merkle.CompactRange()
        part.extend(all_leaves[start : start + 8])
        whole.join(part)
    assert whole.size == len(all_leaves)
    assert whole.root() == merkle.root(all_leaves)
    whole.append(bytes(32))
    assert whole.root() == merkle.root([*all_leaves, bytes(32)])


def test_a_range_that_does_not_line_up_is_not_joined() -> None:
    one, two = merkle.CompactRange(), merkle.CompactRange()
    one.extend(leaves(1))
    two.extend(leaves(2))
    with pytest.raises(ValueError, match="line up"):
        one.join(two)
    assert one.root() == merkle.root(leaves(1))


def test_a_copy_grows_apart() -> None:
    tree = merkle.CompactRange()
    tree.extend(leaves(3))
    twin = tree.copy()
    twin.append(bytes(32))
    assert tree.root() == merkle.root(leaves(3)) != twin.root()


def _subproof(old: int, leaves: list[bytes], known: bool) -> list[bytes]:
    """RFC 6962 section 2.1.2, word for word."""
    if old == len(leaves):
        return [] if known else [by_definition(leaves)]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if old <= k:
        return [*_subproof(old, leaves[:k], known), by_definition(leaves[k:])]
    return [*_subproof(old - k, leaves[k:], False), by_definition(leaves[:k])]


@pytest.mark.parametrize("size", [*range(1, 20), 64, 65])
def test_a_tree_goes_on_from_each_of_its_beginnings_and_from_nothing_else(size: int) -> None:
    roots = [merkle.root(leaves(count)) for count in range(size + 1)]
    for old in range(1, size + 1):
        proof = merkle.consistency_proof(old, size, merkle.nodes(leaves(size)))
        assert proof == _subproof(old, leaves(size), True)
        assert merkle.consistent(old, roots[old], size, roots[size], proof)
        assert not merkle.consistent(old, roots[old - 1], size, roots[size], proof)
        assert not merkle.consistent(old - 1, roots[old], size, roots[size], proof)
        assert old == size or not merkle.consistent(old + 1, roots[old], size, roots[size], proof)
        assert old == size or not merkle.consistent(old, roots[old], size, roots[size - 1], proof)


@given(st.integers(2, 40), st.data())
def test_a_bent_consistency_proof_shows_nothing(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size - 1))
    roots = merkle.root(leaves(old)), merkle.root(leaves(size))
    proof = merkle.consistency_proof(old, size, merkle.nodes(leaves(size)))
    where = data.draw(st.integers(0, len(proof) - 1))
    for bent in (
        [*proof, bytes(32)],
        proof[:-1],
        [],
        [*proof[:where], merkle.leaf_hash(proof[where]), *proof[where + 1 :]],
    ):
        assert not merkle.consistent(old, roots[0], size, roots[1], bent)


def test_an_empty_tree_is_the_beginning_of_every_tree() -> None:
    root = merkle.root(leaves(5))
    assert merkle.consistency_proof(0, 5, merkle.nodes(leaves(5))) == []
    assert merkle.consistent(0, merkle.EMPTY_HASH, 5, root, [])
    assert not merkle.consistent(0, root, 5, root, [])
    assert not merkle.consistent(0, merkle.EMPTY_HASH, 5, root, [bytes(32)])


@pytest.mark.parametrize("old", [-1, 6])
def test_no_tree_goes_on_from_a_larger_one(old: int) -> None:
    root = merkle.root(leaves(5))
    with pytest.raises(IndexError, match="no tree"):
        merkle.consistency_proof(old, 5, merkle.nodes(leaves(5)))
    assert not merkle.consistent(old, root, 5, root, [bytes(32)])
