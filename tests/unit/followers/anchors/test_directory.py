"""Checkpoints in a plain directory: created once, and another one in their place is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.followers.anchors.anchor import Contradicted, Unavailable
from authz.followers.anchors.directory import DirectoryAnchor
from authz.ledger import notes
from tests import ledgers
from tests.unit.followers.anchors.logs import LOG, Log


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "ledger")


@pytest.fixture
def anchor(tmp_path: Path) -> DirectoryAnchor:
    (tmp_path / "elsewhere").mkdir()
    return DirectoryAnchor(tmp_path / "elsewhere", 1)


def test_the_note_lies_under_log_and_size(log: Log, anchor: DirectoryAnchor, tmp_path: Path) -> None:
    candidate = log.candidate(5)
    receipt = anchor.put(candidate)
    file = tmp_path / "elsewhere" / LOG / f"{5:020}"
    assert (receipt.where, receipt.name) == (str(file), str(tmp_path / "elsewhere"))
    assert file.read_bytes() == candidate.note
    assert (receipt.dated, receipt.artefact) == (0.0, b"")
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_the_same_once_more_is_no_news(log: Log, anchor: DirectoryAnchor) -> None:
    assert anchor.put(log.candidate(5)) == anchor.put(log.candidate(5))


def test_what_was_put_there_before_is_never_written_over(
    log: Log, anchor: DirectoryAnchor, tmp_path: Path
) -> None:
    file = tmp_path / "elsewhere" / LOG / f"{5:020}"
    file.parent.mkdir(parents=True)
    other = notes.sign(LOG, 5, b"\x05" * 32, ledgers.LOG_SEED)
    for stored in (b"nonsense", other):
        file.write_bytes(stored)
        with pytest.raises(Contradicted, match=f"{5:020}: (something else|another checkpoint)"):
            anchor.put(log.candidate(5))
        assert file.read_bytes() == stored


def test_a_directory_that_is_not_there_may_be_a_volume_that_is_not_mounted(log: Log, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no such directory"):
        DirectoryAnchor(tmp_path / "none", 1).put(log.candidate(5))
    assert not (tmp_path / "none").exists()


def test_a_disk_that_fails_is_named(log: Log, anchor: DirectoryAnchor, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / LOG.split("/")[0]).write_text("in the way")
    with pytest.raises(Unavailable, match="elsewhere"):
        anchor.put(log.candidate(5))


def test_the_largest_beyond_a_size_is_found(log: Log, anchor: DirectoryAnchor, tmp_path: Path) -> None:
    assert anchor.larger(LOG, 0) is None
    for size in (3, 9, 5):
        anchor.put(log.candidate(size))
    (tmp_path / "elsewhere" / LOG / "last.json").write_text("{}")
    (tmp_path / "elsewhere" / LOG / f"{10:020}.tsr").write_text("")
    assert anchor.larger(LOG, 8) == log.candidate(9).note
    assert anchor.larger(LOG, 9) is None


def test_the_logs_of_a_worker_are_known(log: Log, anchor: DirectoryAnchor, tmp_path: Path) -> None:
    anchor.put(log.candidate(5))
    (tmp_path / "elsewhere" / "aegis.test" / "worker-1" / "x").mkdir(parents=True)
    assert anchor.logs("aegis.test/worker-0/") == [LOG]
    assert anchor.logs("aegis.test/worker-7/") == []
