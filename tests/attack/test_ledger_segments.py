"""Whole segment files are taken away, moved, shortened, filled up or put in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz.ledger.journal import SEGMENT_ENTRIES
from tests import ledgers

NAMES = [f"{number:08d}.jsonl" for number in range(3)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two full segments and a bit, for levels 1 and 2; never changed."""
    root = tmp_path_factory.mktemp("segments")
    yield ledgers.write_long(root, 2 * SEGMENT_ENTRIES + 3)
    shutil.rmtree(root)


@pytest.fixture
def epoch(whole: Path, tmp_path: Path) -> Path:
    """The same files under new names: to be moved and replaced, never written to."""
    copy = tmp_path / "worker-0" / whole.name
    (copy / "entries").mkdir(parents=True)
    for name in NAMES:
        (copy / "entries" / name).hardlink_to(whole / "entries" / name)
    shutil.copyfile(whole / "checkpoint", copy / "checkpoint")
    return copy


def rewrite(epoch: Path, number: int, data: bytes) -> None:
    file = epoch / "entries" / NAMES[number]
    file.unlink()
    file.write_bytes(data)


def stored(epoch: Path, number: int) -> bytes:
    return (epoch / "entries" / NAMES[number]).read_bytes()


def test_the_whole_of_it_verifies(epoch: Path) -> None:
    assert ledgers.check(epoch, 2).verified


def test_a_middle_segment_gone_is_missed(epoch: Path) -> None:
    (epoch / "entries" / NAMES[1]).unlink()
    for level in (1, 2):
        fault = ledgers.found(epoch, level)
        assert fault.file.endswith(NAMES[1])
        assert fault.what == "missing: later entries are there"
        assert fault.seq == SEGMENT_ENTRIES


def test_a_first_segment_gone_is_missed(epoch: Path) -> None:
    (epoch / "entries" / NAMES[0]).unlink()
    for level in (1, 2):
        assert ledgers.found(epoch, level).file.endswith(NAMES[0])


def test_a_last_segment_gone_is_missed_by_the_checkpoint(epoch: Path) -> None:
    (epoch / "entries" / NAMES[2]).unlink()
    for level in (1, 2):
        fault = ledgers.found(epoch, level)
        assert "covers 131075 entries" in fault.what
        assert (fault.line, fault.seq) == (SEGMENT_ENTRIES + 1, 2 * SEGMENT_ENTRIES)


def test_a_middle_segment_cannot_be_closed_up(epoch: Path) -> None:
    (epoch / "entries" / NAMES[2]).replace(epoch / "entries" / NAMES[1])
    assert ledgers.found(epoch, 1)
    fault = ledgers.found(epoch, 2)
    assert (fault.line, fault.seq) == (1, SEGMENT_ENTRIES)


def test_two_segments_cannot_change_places(epoch: Path) -> None:
    first, second = stored(epoch, 0), stored(epoch, 1)
    rewrite(epoch, 0, second)
    rewrite(epoch, 1, first)
    assert ledgers.found(epoch, 1)
    assert ledgers.found(epoch, 2).line == 1


def test_the_link_between_two_segments_is_verified(epoch: Path) -> None:
    """The last entry of a full segment is changed: in its own file nothing comes after it."""
    data = stored(epoch, 0)
    start = data.rindex(b"\n", 0, -1) + 1
    rewrite(epoch, 0, data[:start] + data[start:].replace(b'"unsigned"', b'"unsignet"'))
    fault = ledgers.found(epoch, 2)
    assert fault.file.endswith(NAMES[1])
    assert (fault.line, fault.seq) == (1, SEGMENT_ENTRIES)
    assert "previous_entry_hash" in fault.what


def test_an_entry_cannot_move_over_the_end_of_a_segment(epoch: Path) -> None:
    """The same lines in the same order, cut elsewhere."""
    first, second = stored(epoch, 0), stored(epoch, 1)
    start = first.rindex(b"\n", 0, -1) + 1
    rewrite(epoch, 0, first[:start])
    rewrite(epoch, 1, first[start:] + second)
    for level in (1, 2):
        fault = ledgers.found(epoch, level)
        assert "ends here" in fault.what
        assert fault.line == SEGMENT_ENTRIES


def test_a_segment_holds_no_more_than_its_entries(epoch: Path) -> None:
    rewrite(epoch, 1, stored(epoch, 1) + stored(epoch, 2))
    (epoch / "entries" / NAMES[2]).unlink()
    for level in (1, 2):
        fault = ledgers.found(epoch, level)
        assert "more than 65536" in fault.what
        assert fault.line == SEGMENT_ENTRIES + 1


def test_a_full_segment_ends_its_last_line(epoch: Path) -> None:
    rewrite(epoch, 1, stored(epoch, 1)[:-1])
    for level in (1, 2):
        assert ledgers.found(epoch, level).seq == 2 * SEGMENT_ENTRIES - 1


@pytest.mark.parametrize("name", ["3.jsonl", "0000000a.jsonl", "000000003.jsonl", "00000003.jsonl.bak"])
def test_a_file_that_only_looks_like_a_segment_is_reported_as_not_checked(epoch: Path, name: str) -> None:
    (epoch / "entries" / name).write_bytes(b"anything\n")
    for level in (1, 2):
        report = ledgers.check(epoch, level)
        assert report.verified
        assert report.logs[0].not_checked == (f"entries/{name}",)


def test_an_empty_segment_between_others_is_a_hole(epoch: Path) -> None:
    rewrite(epoch, 1, b"")
    for level in (1, 2):
        assert ledgers.found(epoch, level).file.endswith(NAMES[1])


def test_close_at_the_end_of_a_segment_still_ends_the_log(tmp_path: Path) -> None:
    def said() -> Iterator[ledgers.Members]:
        yield {"kind": "open"}
        yield from ({"kind": "heartbeat"} for _ in range(SEGMENT_ENTRIES - 2))
        yield {"kind": "close"}
        yield {"kind": "heartbeat"}

    epoch = ledgers.write(tmp_path, said(), signer=None)
    fault = ledgers.found(tmp_path, 2)
    shutil.rmtree(epoch)
    assert (fault.what, fault.line, fault.seq) == ("an entry after `close`", 1, SEGMENT_ENTRIES)
