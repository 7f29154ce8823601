"""Reading a long epoch that a worker left: hashed below the newest seal, read closely above it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from authz.ledger import held, keys, merkle
from authz.ledger.held import Held, Seal
from authz.ledger.journal import SEGMENT_ENTRIES
from tests import ledgers

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"
ENTRIES = 2 * SEGMENT_ENTRIES + 3


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two full segments and three entries, of which only the last is attested. Tests leave it as it was."""
    root = tmp_path_factory.mktemp("long")
    jwk = keys.jwk(keys.public_key(ledgers.RECORD_SEED))

    def story() -> Iterator[ledgers.Members]:
        yield {"kind": "open", "record_keys": [jwk]}
        while True:
            yield {"kind": "heartbeat"}

    entries = list(islice(ledgers.chain(story(), LOG, None), ENTRIES - 1))
    previous = merkle.leaf_hash(entries[-1]).hex()
    entries.append(ledgers.line({"kind": "heartbeat"}, LOG, ENTRIES - 1, previous))
    epoch = root / "worker-0" / ledgers.EPOCH
    ledgers.store(epoch, entries)
    yield epoch
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def leaves(long: Path) -> list[bytes]:
    return [merkle.leaf_hash(entry) for entry in ledgers.read(long)]


def seal(leaves: list[bytes], size: int) -> Seal:
    return size, merkle.root(leaves[:size])


@pytest.mark.parametrize(
    "sealed", [0, 1, SEGMENT_ENTRIES - 1, SEGMENT_ENTRIES, SEGMENT_ENTRIES + 1, ENTRIES - 1, ENTRIES]
)
def test_however_much_is_sealed_the_same_is_found(long: Path, leaves: list[bytes], sealed: int) -> None:
    found = held.read(long, LOG, [seal(leaves, sealed)])
    assert (found.fault, found.size, found.sealed) == (None, ENTRIES, sealed)
    assert (found.tip, found.root) == (leaves[-1].hex(), merkle.root(leaves))
    assert (found.opened["kind"], found.last["seq"]) == ("open", ENTRIES - 1)
    assert not found.contradicts


def test_what_is_read_is_the_disk_and_not_what_a_dead_process_left_in_the_cache(
    long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[str, str]] = []

    def note(call: str, fd: int) -> None:
        order.append((call, os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))))

    monkeypatch.setattr(os, "fdatasync", lambda fd: note("sync", fd))
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *advice: note(f"advise {advice}", fd))
    held.read(long, LOG, [])
    forget, fetch = (
        f"advise {(0, 0, advice)}" for advice in (os.POSIX_FADV_DONTNEED, os.POSIX_FADV_WILLNEED)
    )
    forgotten = [(call, number) for number in range(3) for call in ("sync", forget)]
    fetched = [(fetch, number) for number in (0, 1, 1, 2, 2)]
    assert order == [(call, f"0000000{number}.jsonl") for call, number in forgotten + fetched]


def test_more_than_is_there_may_be_sealed(long: Path, leaves: list[bytes]) -> None:
    found = held.read(long, LOG, [(ENTRIES + 5, bytes(32)), seal(leaves, 7)])
    assert (found.fault, found.size, found.sealed) == (None, ENTRIES, ENTRIES + 5)


def damage(epoch: Path, number: int) -> Held:
    """Read `epoch` with one bit flipped in entry `number`, sealed up to the third segment; and undo it."""
    file = epoch / "entries" / f"{number // SEGMENT_ENTRIES:08d}.jsonl"
    whole = file.read_bytes()
    lines = whole.split(b"\n")
    place = number % SEGMENT_ENTRIES
    lines[place] = lines[place].replace(b"aegis.test", b"aegis.tesu", 1)
    sealed = 2 * SEGMENT_ENTRIES + 1
    right = merkle.root([merkle.leaf_hash(entry) for entry in ledgers.read(epoch)[:sealed]])
    file.write_bytes(b"\n".join(lines))
    try:
        return held.read(epoch, LOG, [(sealed, right)])
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize("number", [100, SEGMENT_ENTRIES, 2 * SEGMENT_ENTRIES])
def test_damage_below_the_seal_is_found_and_located(long: Path, number: int) -> None:
    found = damage(long, number)
    assert found.fault is not None
    assert (found.fault.seq, found.fault.line) == (number, number % SEGMENT_ENTRIES + 1)
    assert found.contradicts or found.size < found.sealed
    assert found.size == number


def test_damage_above_the_seal_leaves_what_is_sealed(long: Path) -> None:
    found = damage(long, ENTRIES - 2)
    assert found.fault is not None
    assert (found.size, found.contradicts) == (ENTRIES - 2, False)


def test_a_segment_cut_before_the_next_one_is_found(long: Path, leaves: list[bytes]) -> None:
    file = long / "entries" / "00000000.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    try:
        found = held.read(long, LOG, [seal(leaves, 5)])
    finally:
        file.write_bytes(whole)
    assert found.fault is not None
    assert (found.size, "others follow it" in found.fault.what) == (SEGMENT_ENTRIES - 1, True)


def test_a_segment_that_continues_another_history_is_found(long: Path) -> None:
    second = long / "entries" / "00000001.jsonl"
    whole = second.read_bytes()
    link = rb'("previous_entry_hash":")[0-9a-f]{64}'
    second.write_bytes(re.sub(link, rb"\g<1>" + b"0" * 64, whole, count=1))
    try:
        found = held.read(long, LOG, [])
    finally:
        second.write_bytes(whole)
    assert found.fault is not None
    assert (found.size, found.fault.file, found.fault.line) == (SEGMENT_ENTRIES, str(second), 1)
    assert "previous_entry_hash" in found.fault.what
