"""One bit on the disk changes: the verifier finds every one in a small ledger, a sample in a larger one."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from authz.ledger.trust import Trust
from tests import ledgers

SAMPLE = 300


def _undetected(
    file: Path, root: Path, places: list[int], level: int = 3, pinned: Trust = ledgers.TRUST
) -> list[int]:
    """Flip each bit of `file` in turn; those that verification of `root` did not find."""
    stored, missed = file.read_bytes(), []
    fd = os.open(file, os.O_WRONLY)
    try:
        for place in places:
            os.pwrite(fd, bytes([stored[place // 8] ^ 1 << place % 8]), place // 8)
            if ledgers.check(root, level, pinned).verified:
                missed.append(place)
            os.pwrite(fd, stored[place // 8 : place // 8 + 1], place // 8)
    finally:
        os.close(fd)
    assert file.read_bytes() == stored
    return missed


def _every(file: Path) -> list[int]:
    return list(range(8 * file.stat().st_size))


@pytest.mark.parametrize("seq", range(5))
def test_every_bit_of_the_published_entries_counts(tmp_path: Path, seq: int) -> None:
    epoch, pinned = ledgers.published(tmp_path)
    assert ledgers.check(tmp_path, pinned=pinned).verified
    lengths = [len(entry) + 1 for entry in ledgers.read(epoch)]
    start = sum(lengths[:seq])
    bits = list(range(8 * start, 8 * (start + lengths[seq])))
    assert not _undetected(epoch / "entries" / "00000000.jsonl", tmp_path, bits, pinned=pinned)


def test_every_bit_of_the_published_checkpoint_counts(tmp_path: Path) -> None:
    epoch, pinned = ledgers.published(tmp_path)
    assert not _undetected(epoch / "checkpoint", tmp_path, _every(epoch / "checkpoint"), pinned=pinned)


def test_every_bit_of_a_log_that_nobody_has_sealed_yet_counts(tmp_path: Path) -> None:
    """Attestations and links alone: no checkpoint helps here."""
    epoch = ledgers.write(tmp_path, 2, sealed=False)
    file = epoch / "entries" / "00000000.jsonl"
    assert ledgers.check(tmp_path).verified
    assert not _undetected(file, tmp_path, _every(file))


def test_every_bit_of_a_checkpoint_counts_at_the_lowest_level_too(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 2)
    assert not _undetected(epoch / "checkpoint", tmp_path, _every(epoch / "checkpoint"), level=1)


def test_a_sample_of_the_bits_of_a_thousand_entries_is_found_and_placed(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 1000)
    file = epoch / "entries" / "00000000.jsonl"
    stored = bytearray(file.read_bytes())
    for place in random.sample(_every(file), 40):
        stored[place // 8] ^= 1 << place % 8
        file.write_bytes(stored)
        fault = ledgers.check(tmp_path).first_fault
        stored[place // 8] ^= 1 << place % 8
        assert fault is not None
        assert fault.file == str(file)
        assert fault.line == stored[: place // 8].count(b"\n") + 1
        assert fault.seq == fault.line - 1


def test_trees_and_checkpoints_alone_find_a_flipped_bit_too(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 1000)
    file = epoch / "entries" / "00000000.jsonl"
    places = random.sample(_every(file), SAMPLE)
    assert not _undetected(file, tmp_path, places, level=1)
    assert not _undetected(file, tmp_path, places[:20], level=2)
