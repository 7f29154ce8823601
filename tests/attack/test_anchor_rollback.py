"""Whoever holds the disk and all keys cuts, rewrites or removes what others outside have seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import ledgers
from tests.anchored import Outside

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def outside(tmp_path: Path, ledger: Path) -> Outside:
    """Somebody outside saw 4 of 6 entries."""
    seen = Outside(tmp_path / "outside", ledgers.write(ledger, 6))
    seen.cosign(4, at=1000)
    return seen


def cut(ledger: Path, size: int) -> None:
    """Cut the tail and sign what is left, as the holder of the log key can."""
    epoch = ledger / "worker-0" / ledgers.EPOCH
    ledgers.store(epoch, ledgers.read(epoch)[:size])
    ledgers.seal(epoch, LOG)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_tail_cut_below_an_anchored_checkpoint_is_found(ledger: Path, outside: Outside, level: int) -> None:
    cut(ledger, 3)
    assert ledgers.check(ledger, level).verified  # without the anchor nobody could tell
    fault = outside.found(ledger, level)
    assert fault.what.startswith("rolled back: the log ends here, but 4 entries were anchored outside")
    assert (Path(fault.file).name, fault.line, fault.seq) == ("00000000.jsonl", 4, 3)


@pytest.mark.parametrize("size", [4, 5])
def test_a_tail_cut_above_it_is_what_the_exposure_says(ledger: Path, outside: Outside, size: int) -> None:
    report = outside.check(ledger)
    window = "2 entries after the last outside anchor of their log (1000 s since the last dated one)"
    assert report.exposure.startswith(window)
    cut(ledger, size)
    report = outside.check(ledger)
    assert report.verified
    assert report.logs[0].anchored == 4


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_rewritten_entry_below_it_is_found_though_everything_is_signed_again(
    ledger: Path, outside: Outside, level: int
) -> None:
    epoch = ledger / "worker-0" / ledgers.EPOCH
    ledgers.rechain(epoch, lambda entries: entries[2].update(decision="deny"), ledgers.SIGNER)
    ledgers.seal(epoch, LOG)
    assert ledgers.check(ledger, level).verified
    fault = outside.found(ledger, level)
    assert fault.what == "its root is not that of the first 4 entries on disk"
    assert fault.file == str(outside.file(4, ".cosigned"))


def test_an_epoch_that_is_gone_is_missed(ledger: Path, outside: Outside) -> None:
    ledgers.follow(ledger, ledger / "worker-0" / ledgers.EPOCH, previous_log=f"{ledgers.WORKER}/other")
    for path in sorted((ledger / "worker-0" / ledgers.EPOCH).rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (ledger / "worker-0" / ledgers.EPOCH).rmdir()
    assert ledgers.check(ledger).verified
    assert outside.found(ledger).what == f"missing: 4 entries of {LOG} were anchored outside"


def test_a_single_log_does_not_miss_the_others(ledger: Path, outside: Outside) -> None:
    later = ledgers.follow(ledger, ledger / "worker-0" / ledgers.EPOCH)
    report = outside.check(later)
    assert report.verified
    assert f"anchors of {LOG}: it is not here" in report.not_checked
