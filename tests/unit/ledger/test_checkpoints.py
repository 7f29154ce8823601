"""The store of what was ever signed as an SQLite file: what only a file can suffer."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from authz.errors import EvidenceUnavailable
from authz.ledger.checkpoints import CheckpointStore

LOG = "aegis.test/worker-0/20260101T000000Z-0000000000000000"
ROOT, OTHER = b"\x01" * 32, b"\x02" * 32


def test_what_is_stored_outlives_the_process(tmp_path: Path) -> None:
    first = CheckpointStore(tmp_path / "store")
    assert first.advance(LOG, 5, ROOT, expected=0)
    first.close()
    second = CheckpointStore(tmp_path / "store")
    assert second.latest(LOG) == (5, ROOT)
    second.close()


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
