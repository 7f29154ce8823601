"""The store of what was ever signed: it only grows, for all processes at once."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from authz.errors import EvidenceUnavailable, IntegrityViolation
from authz.ledger.checkpoints import CheckpointStore

LOG = "aegis.test/worker-0/20260101T000000Z-0000000000000000"
ROOT, OTHER = b"\x01" * 32, b"\x02" * 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CheckpointStore]:
    made = CheckpointStore(tmp_path / "checkpoints.sqlite")
    yield made
    made.close()


def test_a_log_moves_from_size_to_size(store: CheckpointStore) -> None:
    assert store.latest(LOG) is None
    assert store.advance(LOG, 5, ROOT, expected=0)
    assert store.advance(LOG, 9, OTHER, expected=5)
    assert store.latest(LOG) == (9, OTHER)


def test_what_is_stored_outlives_the_process(tmp_path: Path) -> None:
    first = CheckpointStore(tmp_path / "store")
    assert first.advance(LOG, 5, ROOT, expected=0)
    first.close()
    second = CheckpointStore(tmp_path / "store")
    assert second.latest(LOG) == (5, ROOT)
    second.close()


def test_the_same_checkpoint_may_be_signed_again(store: CheckpointStore) -> None:
    """A process killed between the swap and the signature has to."""
    store.advance(LOG, 5, ROOT, expected=0)
    assert store.advance(LOG, 5, ROOT, expected=5)
    assert store.advance(LOG, 5, ROOT, expected=0)


@pytest.mark.parametrize("expected", [0, 5])
def test_two_roots_of_one_size_are_a_violation(store: CheckpointStore, expected: int) -> None:
    store.advance(LOG, 5, ROOT, expected=0)
    with pytest.raises(IntegrityViolation, match="two roots for 5 entries"):
        store.advance(LOG, 5, OTHER, expected=expected)
    assert store.latest(LOG) == (5, ROOT)


def test_a_smaller_size_is_a_violation(store: CheckpointStore) -> None:
    store.advance(LOG, 5, ROOT, expected=0)
    with pytest.raises(IntegrityViolation, match="4 entries after one of 5"):
        store.advance(LOG, 4, ROOT, expected=5)
    assert store.latest(LOG) == (5, ROOT)


@pytest.mark.parametrize(("size", "expected"), [(4, 0), (4, 3), (9, 0), (9, 4), (9, 8)])
def test_who_does_not_know_the_stored_size_has_to_look_again(
    store: CheckpointStore, size: int, expected: int
) -> None:
    store.advance(LOG, 5, ROOT, expected=0)
    assert not store.advance(LOG, size, OTHER, expected=expected)
    assert store.latest(LOG) == (5, ROOT)


def test_logs_of_a_worker_come_oldest_first_and_nobody_elses(store: CheckpointStore) -> None:
    names = [f"a/w{worker}/2026010{day}T000000Z-{day:016x}" for worker in ("", "_") for day in (3, 1, 2)]
    for name in names:
        store.advance(name, 1, ROOT, expected=0)
    assert store.logs("a/w/") == sorted(names[:3])
    assert store.logs("a/w_/") == sorted(names[3:])
    assert store.logs("a/w%/") == []


@pytest.mark.parametrize(("size", "root"), [(0, ROOT), (1, b"short")])
def test_what_is_no_checkpoint_is_not_stored(store: CheckpointStore, size: int, root: bytes) -> None:
    with pytest.raises(EvidenceUnavailable, match="CHECK constraint"):
        store.advance(LOG, size, root, expected=0)
    assert store.latest(LOG) is None


def test_a_reader_cannot_move_anything_nor_make_a_store(tmp_path: Path) -> None:
    with pytest.raises(EvidenceUnavailable, match=f"{tmp_path}/missing: unable to open"):
        CheckpointStore(tmp_path / "missing", read_only=True)
    CheckpointStore(tmp_path / "store").close()
    reader = CheckpointStore(tmp_path / "store", read_only=True)
    with pytest.raises(EvidenceUnavailable, match="readonly"):
        reader.advance(LOG, 1, ROOT, expected=0)
    assert reader.latest(LOG) is None
    reader.close()


def test_a_store_made_by_a_process_that_was_killed_at_once_reads_as_empty(tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    reader = CheckpointStore(tmp_path / "store", read_only=True)
    assert (reader.latest(LOG), reader.logs("")) == (None, [])
    reader.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"not a database" * 100)
    with pytest.raises(EvidenceUnavailable, match=f"{tmp_path}/store: file is not a database"):
        CheckpointStore(tmp_path / "store")


def test_what_a_killed_process_left_half_done_is_undone_by_the_next_reader(tmp_path: Path) -> None:
    """A rollback journal that is still hot: this is what a kill in the middle of a commit leaves."""
    path = tmp_path / "store"
    store = CheckpointStore(path)
    store.advance(LOG, 5, ROOT, expected=0)
    store.close()
    writing = sqlite3.connect(path, isolation_level=None)
    writing.execute("PRAGMA journal_mode = PERSIST")
    writing.execute("PRAGMA cache_size = 1")
    writing.execute("BEGIN IMMEDIATE")
    for number in range(500):  # more than the cache holds, so that changed pages reach the file
        writing.execute("INSERT INTO checkpoints VALUES (?, 1, ?)", (f"x/{number}" * 20, ROOT))
    (tmp_path / "copy").write_bytes(path.read_bytes())
    (tmp_path / "copy-journal").write_bytes(Path(f"{path}-journal").read_bytes())
    writing.close()
    reader = CheckpointStore(tmp_path / "copy", read_only=True)
    assert reader.logs("") == [LOG]
    assert reader.latest(LOG) == (5, ROOT)
    reader.close()


def test_of_processes_that_race_one_wins_each_size(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    CheckpointStore(tmp_path / "store").close()
    files = [tmp_path / f"won-{number}" for number in range(3)]
    racers = [
        context.Process(target=_race, args=(tmp_path / "store", number, start, file))
        for number, file in enumerate(files)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    steps = [int(line) for file in files for line in file.read_text().split()]
    assert sorted(steps) == list(range(1, 201))


def _race(path: Path, number: int, start: Barrier, won: Path) -> None:
    """Move the log up by one, again and again, always from what is stored; note every step won."""
    store = CheckpointStore(path)
    start.wait()
    with won.open("w") as file:
        while (size := (store.latest(LOG) or (0, b""))[0]) < 200:
            try:
                moved = store.advance(LOG, size + 1, bytes([number]) * 32, expected=size)
            except IntegrityViolation:  # another one signed this size meanwhile
                continue
            if moved:
                file.write(f"{size + 1}\n")
    store.close()
