"""Entries by number: what is in the files, also while they grow, and the first missing one by its place."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

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


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A log of real entries, the longest ones among them, through two segments."""
    root = tmp_path_factory.mktemp("numbered")

    def said() -> Iterator[ledgers.Members]:
        yield {"kind": "open"}
        for number in range(1, SEGMENT_ENTRIES + 700):
            yield {"kind": "heartbeat", "size": number} | ({"pad": "x" * 15_000} if number % 97 == 0 else {})

    epoch = ledgers.write(root, said(), signer=None, sealed=False)
    return epoch, ledgers.read(epoch)


@pytest.mark.parametrize("counted", [False, True])
def test_entries_that_say_their_number_are_found_by_it(
    numbered: tuple[Path, list[bytes]], counted: bool
) -> None:
    epoch, entries = numbered
    chance = random.Random(1)
    for start in [*(start for start, _ in RUNS), *(chance.randrange(len(entries)) for _ in range(50))]:
        end = min(start + chance.randrange(1, 300), len(entries))
        assert list(Stored(epoch).entries(start, end, counted=counted)) == entries[start:end]
    assert Stored(epoch).leaves(256, 300) == [merkle.leaf_hash(entry) for entry in entries[256:300]]


def test_few_lines_are_read_to_find_one(
    numbered: tuple[Path, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch, entries = numbered
    read: list[int] = []

    def pread(fd: int, count: int, offset: int) -> bytes:
        read.append(count)
        return os.pread(fd, count, offset)

    monkeypatch.setattr("authz.ledger.stored.os", SimpleNamespace(pread=pread, fstat=os.fstat))
    assert list(Stored(epoch).entries(50_000, 50_001)) == [entries[50_000]]
    assert 8 < len(read) < 20


def test_a_line_that_lies_about_its_number_hides_nothing(
    numbered: tuple[Path, list[bytes]], tmp_path: Path
) -> None:
    """Every probe may be misled; whoever counts is not."""
    _, entries = numbered
    lying = [entry.replace(b'"seq":3', b'"seq":9') for entry in entries[:SEGMENT_ENTRIES]]
    ledgers.store(tmp_path, lying)
    assert list(Stored(tmp_path).entries(40_000, 40_010, counted=True)) == lying[40_000:40_010]


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
