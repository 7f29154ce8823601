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
    assert merkle.inclusion_proof(found, golden.INDEX) == golden.PROOF
    leaf = found[golden.INDEX]
    assert merkle.root_from_inclusion(leaf, golden.INDEX, checkpoint.size, golden.PROOF) == checkpoint.root


@pytest.mark.parametrize("size", range(34))
def test_the_root_is_the_definition_s_at_every_size(size: int) -> None:
    assert merkle.root(leaves(size)) == by_definition(leaves(size))


@pytest.mark.parametrize("size", range(1, 20))
def test_every_leaf_has_a_proof_and_it_is_of_no_other_place(size: int) -> None:
    all_leaves = leaves(size)
    root = merkle.root(all_leaves)
    for index in range(size):
        proof = merkle.inclusion_proof(all_leaves, index)
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
    proof = merkle.inclusion_proof(all_leaves, index)
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
        merkle.inclusion_proof(leaves(size), index)
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
