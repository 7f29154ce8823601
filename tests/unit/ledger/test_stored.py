"""Entries by number: what is in the files, also while they grow, and the first missing one by its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.errors import IntegrityViolation
from authz.ledger import merkle
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name
from authz.ledger.stored import Stored
from tests import ledgers

ENTRIES = [f"entry {number}".encode() for number in range(SEGMENT_ENTRIES + 700)]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    epoch = tmp_path_factory.mktemp("log")
    ledgers.store(epoch, ENTRIES)
    return epoch


RUNS = [(0, 0), (0, 1), (0, 700), (255, 257), (256, 512), (600, 601), (65_000, 66_000), (65_536, 66_236)]


@pytest.mark.parametrize(("start", "end"), RUNS)
def test_a_run_is_what_was_stored(log: Path, start: int, end: int) -> None:
    assert list(Stored(log).entries(start, end)) == ENTRIES[start:end]


def test_what_was_found_once_is_found_again(log: Path) -> None:
    stored = Stored(log)
    for start, end in [*RUNS, *reversed(RUNS)]:
        assert list(stored.entries(start, end)) == ENTRIES[start:end]
    assert stored.leaves(256, 300) == [merkle.leaf_hash(entry) for entry in ENTRIES[256:300]]


def test_a_file_that_grows_is_read_to_its_new_end(tmp_path: Path) -> None:
    stored = Stored(tmp_path)
    for size in (100, 256, 300, 512, 700):
        ledgers.store(tmp_path, ENTRIES[:size])
        assert list(stored.entries(size - 50, size)) == ENTRIES[size - 50 : size]
        with pytest.raises(IntegrityViolation, match=f"line {size + 1}, seq {size}: the entry is missing"):
            list(stored.entries(size - 1, size + 1000))


def test_the_first_missing_entry_is_named(tmp_path: Path) -> None:
    ledgers.store(tmp_path, ENTRIES[:300])
    file = tmp_path / "entries" / segment_name(0)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(IntegrityViolation, match="line 300, seq 299: the entry is missing"):
        list(Stored(tmp_path).entries(600, 700))
    with pytest.raises(IntegrityViolation, match=r"00000001\.jsonl, line 1, seq 65536: the entry is missing"):
        list(Stored(tmp_path).entries(SEGMENT_ENTRIES + 5, SEGMENT_ENTRIES + 6))


def test_a_line_longer_than_any_entry_ends_what_is_there(tmp_path: Path) -> None:
    ledgers.store(tmp_path, [b"one", b"x" * 20_000, b"three"])
    with pytest.raises(IntegrityViolation, match="line 2, seq 1: the entry is missing"):
        list(Stored(tmp_path).entries(0, 3))
