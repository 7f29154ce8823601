"""One epoch lies about another: about where it began, how far it went, what it was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from authz.ledger import merkle
from tests import ledgers

OLD = f"{ledgers.WORKER}/{ledgers.EPOCH}"
THIRD_EPOCH = "20260103T000000Z-0000000000000002"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return ledgers.write(tmp_path, 5, closed=True)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"previous_size": 4}, f"previous_size: 4, but {OLD} holds 5 entries"),
        ({"previous_size": 6}, f"previous_size: 6, but {OLD} holds 5 entries"),
        ({"previous_size": 0, "previous_root": merkle.EMPTY_HASH_HEX}, "previous_size: 0, but"),
        ({"previous_root": merkle.EMPTY_HASH_HEX}, f"previous_root: not the root of {OLD}"),
        ({"previous_root": "00"}, "previous_root: not 64 lowercase hex digits"),
        ({"previous_size": 2**53 - 1}, "previous_size: 9007199254740991, but"),
    ],
)
def test_a_lie_about_the_old_epoch_is_found_though_all_of_it_is_signed(
    tmp_path: Path, old: Path, said: dict[str, Any], words: str
) -> None:
    heir = ledgers.follow(tmp_path, old, **said)
    for level in (2, 3):
        fault = ledgers.found(tmp_path, level)
        assert words in fault.what
        assert (fault.file, fault.line, fault.seq) == (str(heir / "entries" / "00000000.jsonl"), 1, 0)


def test_the_old_epoch_may_not_be_rewritten_under_its_heir(tmp_path: Path, old: Path) -> None:
    """Even with every key: the next epoch has sealed what was there."""
    ledgers.follow(tmp_path, old)
    ledgers.rechain(old, lambda entries: entries[2].update(decision="deny"), ledgers.SIGNER)
    ledgers.seal(old, OLD)
    assert ledgers.found(tmp_path).what == f"previous_root: not the root of {OLD}"


def test_nothing_is_added_to_the_old_epoch_once_it_has_an_heir(tmp_path: Path) -> None:
    old = ledgers.write(tmp_path, 4)
    ledgers.follow(tmp_path, old)
    ledgers.store(old, list(ledgers.chain(ledgers.story(5), OLD)))
    assert ledgers.found(tmp_path).what == f"previous_size: 4, but {OLD} holds 5 entries"


def test_an_epoch_taken_away_is_reported_by_the_one_after_it(tmp_path: Path, old: Path) -> None:
    middle = ledgers.follow(tmp_path, old)
    leaves = [merkle.leaf_hash(entry) for entry in ledgers.read(middle)]
    opening = {
        "previous_log": f"{ledgers.WORKER}/{middle.name}",
        "previous_size": len(leaves),
        "previous_root": merkle.root(leaves).hex(),
    }
    ledgers.write(tmp_path, ledgers.story(2, opening=opening), epoch=THIRD_EPOCH)
    assert all(not log.not_checked for log in ledgers.check(tmp_path).logs)
    shutil.rmtree(middle)
    report = ledgers.check(tmp_path)
    assert report.logs[1].not_checked == (f"previous log {ledgers.WORKER}/{middle.name}: it is not here",)


def test_a_history_has_one_continuation(tmp_path: Path, old: Path) -> None:
    heir = ledgers.follow(tmp_path, old)
    opening = {
        name: value for name, value in ledgers.members(heir)[0].items() if name.startswith("previous_")
    }
    del opening["previous_entry_hash"]
    ledgers.write(tmp_path, ledgers.story(2, opening=opening), epoch=THIRD_EPOCH)
    assert f"{heir.name} continues {OLD} too" in ledgers.found(tmp_path).what


def test_a_name_stands_for_one_history(tmp_path: Path, old: Path) -> None:
    """The same log a second time, and a second, well signed log of the same name."""
    for entries in (5, 3):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        ledgers.write(tmp_path / "copy", entries, closed=True)
        assert (
            ledgers.found(tmp_path).what == f"the same log is also in {tmp_path / 'copy/worker-0' / old.name}"
        )


def test_a_log_cannot_continue_itself(tmp_path: Path) -> None:
    said = {"previous_log": OLD, "previous_size": 0, "previous_root": merkle.EMPTY_HASH_HEX}
    ledgers.write(tmp_path, ledgers.story(3, opening=said))
    assert ledgers.found(tmp_path).what == f"previous_size: 0, but {OLD} holds 3 entries"


def test_a_fault_in_the_old_epoch_is_the_one_that_is_named(tmp_path: Path, old: Path) -> None:
    ledgers.follow(tmp_path, old)
    ledgers.edit(old, lambda entries: entries.__setitem__(2, b"{}"))
    report = ledgers.check(tmp_path)
    assert report.first_fault is not None
    assert (report.first_fault.line, report.first_fault.seq) == (3, 2)
    assert report.logs[1].fault is None
    assert report.logs[1].not_checked == (f"previous log {OLD}: it has a fault of its own",)


def test_one_bad_epoch_spoils_the_tree_and_the_others_are_still_judged(tmp_path: Path, old: Path) -> None:
    heir = ledgers.follow(tmp_path, old)
    ledgers.edit(heir, lambda entries: entries.__setitem__(1, b"{}"))
    report = ledgers.check(tmp_path)
    assert not report.verified
    assert [log.fault is None for log in report.logs] == [True, False]
    assert report.first_fault == report.logs[1].fault
