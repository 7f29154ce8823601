"""Evidence is hidden where nobody looks: behind a name that makes a directory look like a log.

The attacker can write below the ledger's directory and holds no key.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.ledger import files
from tests import ledgers

LEVELS = (1, 2, 3)


@pytest.fixture
def epoch(tmp_path: Path) -> Path:
    return ledgers.write(tmp_path, 5)


def forge(epoch: Path) -> None:
    ledgers.edit(epoch, lambda entries: entries.__setitem__(2, entries[2].replace(b'"allow"', b'"deny "')))


def make(place: Path) -> None:
    if place.name == "checkpoint":
        place.touch()
    else:
        place.mkdir()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("decoy", ["entries", "tile", "checkpoint", "worker-0/entries", "worker-0/tile"])
def test_a_decoy_above_a_log_does_not_hide_what_was_done_to_it(
    tmp_path: Path, epoch: Path, decoy: str, level: int
) -> None:
    make(tmp_path / decoy)
    forge(epoch)
    faults = [log.fault for log in ledgers.check(tmp_path, level).logs if log.directory == str(epoch)]
    assert faults[0] is not None


@pytest.mark.parametrize("level", LEVELS)
def test_a_decoy_alone_changes_nothing_but_is_said(tmp_path: Path, epoch: Path, level: int) -> None:
    (tmp_path / "entries").mkdir()
    report = ledgers.check(tmp_path, level)
    assert report.verified
    assert [(log.entries, log.directory) for log in report.logs] == [(0, str(tmp_path)), (5, str(epoch))]
    assert report.logs[0].not_checked == ("worker-0: no part of this log",)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("inside", ["", "aside", "disclosures"])
def test_an_epoch_moved_into_another_one_is_still_judged(
    tmp_path: Path, epoch: Path, inside: str, level: int
) -> None:
    later = ledgers.write(tmp_path, 3, epoch=ledgers.LATER_EPOCH)
    forge(epoch)
    hidden = later / inside / epoch.name
    hidden.parent.mkdir(exist_ok=True)
    epoch.rename(hidden)
    report = ledgers.check(tmp_path, level)
    assert not report.verified
    assert [log.directory for log in report.logs] == [str(later), str(hidden)]


def test_a_whole_epoch_in_another_one_is_not_where_it_belongs(tmp_path: Path, epoch: Path) -> None:
    later = ledgers.write(tmp_path, 3, epoch=ledgers.LATER_EPOCH)
    epoch.rename(later / epoch.name)
    assert ledgers.found(tmp_path).what == f"the directory is not where {ledgers.WORKER}/{epoch.name} belongs"


def test_whatever_has_no_place_in_a_log_is_said(epoch: Path) -> None:
    for name in ("failed", ".checkpoint.new", "00000000.jsonl", "notes.txt"):
        (epoch / name).touch()
    (epoch / "old").mkdir()
    (epoch / "link").symlink_to(epoch)
    report = ledgers.check(epoch)
    assert report.verified
    assert report.logs[0].not_checked == tuple(
        f"{name}: no part of this log" for name in ("00000000.jsonl", "notes.txt", "old")
    )
    assert f"{epoch / 'link'}: a symbolic link, not followed" in report.not_checked


def test_a_flood_of_names_is_counted_and_not_listed(epoch: Path) -> None:
    for number in range(files.MAX_STRANGERS + 7):
        (epoch / f"junk-{number:03}").touch()
    said = ledgers.check(epoch).logs[0].not_checked
    assert len(said) == files.MAX_STRANGERS + 1
    assert said[-1] == "7 more names: no part of this log"


def test_epochs_just_made_verify_beside_one_that_lives(tmp_path: Path, epoch: Path) -> None:
    (tmp_path / "worker-0" / ledgers.LATER_EPOCH / "entries").mkdir(parents=True)
    (tmp_path / "worker-1" / ledgers.EPOCH / "entries").mkdir(parents=True)
    report = ledgers.check(tmp_path)
    assert report.verified
    assert [log.entries for log in report.logs] == [5, 0, 0]
