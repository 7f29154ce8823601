"""Whole entries are moved, doubled, dropped, put in or brought from another log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from authz import canonical
from authz.ledger import merkle
from tests import ledgers

Change = Callable[[list[bytes]], None]


def swap(entries: list[bytes]) -> None:
    entries[2], entries[3] = entries[3], entries[2]


def double(entries: list[bytes]) -> None:
    entries.insert(2, entries[2])


def drop(entries: list[bytes]) -> None:
    del entries[2]


def repeat_seq(entries: list[bytes]) -> None:
    """A second entry 2, signed by us, linked to the first one."""
    log = f"{ledgers.WORKER}/{ledgers.EPOCH}"
    entries.insert(3, ledgers.line(ledgers.decision(9), log, 2, merkle.leaf_hash(entries[2]).hex()))


def skip_seq(entries: list[bytes]) -> None:
    log = f"{ledgers.WORKER}/{ledgers.EPOCH}"
    entries[2:] = [ledgers.line(ledgers.decision(9), log, 3, merkle.leaf_hash(entries[1]).hex())]


CHANGES = {"swap": swap, "double": double, "drop": drop, "repeat seq": repeat_seq, "skip seq": skip_seq}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_entries_have_one_order_and_the_first_that_is_out_of_it_is_named(
    tmp_path: Path, change: Change
) -> None:
    epoch = ledgers.write(tmp_path, 6)
    stored = ledgers.read(epoch)
    ledgers.edit(epoch, change)
    first = next(seq for seq, entry in enumerate(ledgers.read(epoch)) if entry != [*stored, b""][seq])
    for level in (2, 3):
        fault = ledgers.found(tmp_path, level)
        assert (fault.file, fault.line, fault.seq) == (
            str(epoch / "entries" / "00000000.jsonl"),
            first + 1,
            first,
        )
    assert ledgers.found(tmp_path, 1)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_nor_can_the_order_of_what_nobody_has_sealed_be_changed(tmp_path: Path, change: Change) -> None:
    ledgers.edit(ledgers.write(tmp_path, 6, sealed=False), change)
    assert ledgers.found(tmp_path, 3).line


def test_an_entry_of_another_log_is_not_of_this_one(tmp_path: Path) -> None:
    """Same worker, same keys, same place: the name of the log is signed."""
    other = ledgers.write(tmp_path / "other", 3, epoch=ledgers.LATER_EPOCH)
    epoch = ledgers.write(tmp_path / "mine", 3)
    ledgers.edit(epoch, lambda entries: entries.__setitem__(2, ledgers.read(other)[2]))
    for level in (2, 3):
        fault = ledgers.found(tmp_path / "mine", level)
        assert fault.what == "log: not the name of this log"
        assert (fault.file, fault.line, fault.seq) == (str(epoch / "entries" / "00000000.jsonl"), 3, 2)


def test_a_log_does_not_verify_under_another_name(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 3, sealed=False)
    epoch.rename(epoch.with_name(ledgers.LATER_EPOCH))
    assert "belongs" in ledgers.found(tmp_path).what


def test_a_log_does_not_verify_as_another_worker_s(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 3)
    epoch.parent.rename(tmp_path / "worker-9")
    for level in (1, 2, 3):
        assert "belongs" in ledgers.found(tmp_path, level).what
    assert ledgers.check(tmp_path / "worker-9" / epoch.name).verified  # a log alone may lie anywhere


def test_an_entry_changed_with_every_link_after_it_is_found_by_the_checkpoint(tmp_path: Path) -> None:
    """All that can be recomputed without a key has been."""
    epoch = ledgers.write(tmp_path, 6)
    ledgers.rechain(epoch, lambda entries: entries[2].update(decision="deny"))
    assert ledgers.found(tmp_path, 1).file == ledgers.found(tmp_path, 2).file == str(epoch / "checkpoint")
    assert ledgers.found(tmp_path, 3).seq == 2


def test_and_without_the_checkpoint_by_its_attestation(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 6, sealed=False)
    ledgers.rechain(epoch, lambda entries: entries[2].update(decision="deny"))
    fault = ledgers.found(tmp_path, 3)
    assert (fault.line, fault.what) == (3, "attestation: it is of another entry than this one")


def test_the_holder_of_the_record_key_alone_cannot_change_what_is_sealed(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 6)
    ledgers.rechain(epoch, lambda entries: entries[2].update(decision="deny"), ledgers.SIGNER)
    assert ledgers.found(tmp_path).file == str(epoch / "checkpoint")


def test_the_holder_of_both_keys_can_and_the_report_says_so(tmp_path: Path) -> None:
    """Without an outside anchor: this is what the tail exposure means."""
    epoch = ledgers.write(tmp_path, 6)
    ledgers.rechain(epoch, lambda entries: entries[2].update(decision="deny"), ledgers.SIGNER)
    ledgers.seal(epoch, f"{ledgers.WORKER}/{epoch.name}")
    report = ledgers.check(tmp_path)
    assert report.verified
    assert "rewritten by the holder of the keys" in report.exposure


@pytest.mark.parametrize("kind", ["open", "decision", "heartbeat"])
def test_nothing_comes_after_close(tmp_path: Path, kind: str) -> None:
    said = [*ledgers.story(3, closed=True), ledgers.decision(9) | {"kind": kind}]
    ledgers.write(tmp_path, iter(said))
    fault = ledgers.found(tmp_path, 2)
    assert (fault.what, fault.line) == ("an entry after `close`", 4)


def test_a_second_open_is_not_taken(tmp_path: Path) -> None:
    ledgers.write(tmp_path, iter([{"kind": "open"}, {"kind": "open"}]))
    assert ledgers.found(tmp_path, 2).what.startswith("kind: `open`")


def test_a_log_begins_with_open(tmp_path: Path) -> None:
    ledgers.write(tmp_path, iter([ledgers.decision(1), ledgers.decision(2)]))
    assert ledgers.found(tmp_path, 2).line == 1


def test_nothing_comes_before_the_first_entry(tmp_path: Path) -> None:
    """A head cut off cannot be hidden by counting from zero again, whatever is signed."""
    log = f"{ledgers.WORKER}/{ledgers.EPOCH}"
    epoch = ledgers.write(tmp_path, 1)
    ledgers.edit(
        epoch, lambda entries: entries.__setitem__(0, ledgers.line({"kind": "open"}, log, 0, "a" * 64))
    )
    ledgers.seal(epoch, log)
    for level in (2, 3):
        fault = ledgers.found(tmp_path, level)
        assert (fault.line, fault.seq) == (1, 0)
        assert fault.what.startswith("previous_entry_hash: ")


@pytest.mark.parametrize("stored", [b"\n", b"{}\n", b"null\n", b"\x00\n", b"{\n", b"[" * 9000 + b"\n"])
def test_a_line_that_is_no_entry_is_named(tmp_path: Path, stored: bytes) -> None:
    epoch = ledgers.write(tmp_path, 3, sealed=False)
    with (epoch / "entries" / "00000000.jsonl").open("ab") as file:
        file.write(stored)
    for level in (2, 3):
        fault = ledgers.found(tmp_path, level)
        assert (fault.line, fault.seq) == (4, 3)


def test_an_entry_that_says_the_same_in_other_bytes_is_not_the_entry(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, 3, sealed=False)
    spaced = [b'{"a":1, "b":2}', canonical.encode({"b": 1}) + b"\r"]
    for line in spaced:
        ledgers.edit(epoch, lambda entries, line=line: entries.__setitem__(2, line))  # type: ignore[misc]
        assert ledgers.found(tmp_path).line == 3
