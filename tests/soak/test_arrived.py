"""What is lost, twice, swapped or changed on the way to a receiver is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import ledgers
from tests.soak.arrived import Arrived, compare

ENTRIES = 6  # `open`, then decisions


@pytest.fixture
def sent(tmp_path: Path) -> list[bytes]:
    """The entries of two epochs, as an exporter would send them."""
    first = ledgers.write(tmp_path / "ledger", ENTRIES)
    second = ledgers.write(
        tmp_path / "ledger", iter([{"kind": "open"}, outcome(1)]), epoch=ledgers.LATER_EPOCH
    )
    return ledgers.read(first) + ledgers.read(second)


def outcome(number: int) -> ledgers.Members:
    return {"kind": "outcome", "decision_id": ledgers.decision(number)["decision_id"]}


def arrived(tmp_path: Path, sent: list[bytes]) -> Arrived:
    received = tmp_path / "received.jsonl"
    received.write_bytes(b"".join(entry + b"\n" for entry in sent))
    return compare(tmp_path / "ledger/worker-0", received)


def test_everything_once_is_well(tmp_path: Path, sent: list[bytes]) -> None:
    found = arrived(tmp_path, sent)
    assert (found.faults, found.entries, found.again) == ([], len(sent), 0)
    assert (len(found.decisions), len(found.outcomes)) == (ENTRIES - 1, 1)


def test_what_comes_again_counts_once(tmp_path: Path, sent: list[bytes]) -> None:
    found = arrived(tmp_path, sent[:4] + sent[2:])
    assert (found.faults, found.entries, found.again) == ([], len(sent), 2)


def test_what_other_writers_sent_is_passed_over(tmp_path: Path, sent: list[bytes]) -> None:
    other = sent[0].replace(b"/worker-0/", b"/control/")
    assert other != sent[0]
    found = arrived(tmp_path, [other, *sent, other])
    assert (found.faults, found.entries) == ([], len(sent))


def test_what_comes_again_changed_is_noticed(tmp_path: Path, sent: list[bytes]) -> None:
    (fault,) = arrived(tmp_path, [*sent, sent[2].replace(b'"allow"', b'"deny"')]).faults
    assert fault.endswith(" 2 came again as something else")


def test_what_does_not_come_is_noticed(tmp_path: Path, sent: list[bytes]) -> None:
    assert arrived(tmp_path, sent[:-2]).faults == ["2 entries did not arrive"]


def test_what_is_left_out_swapped_or_changed_is_noticed(tmp_path: Path, sent: list[bytes]) -> None:
    changed = sent[3].replace(b'"allow"', b'"deny"')
    for wrong in (
        [*sent[:3], *sent[4:]],
        [*sent[:3], sent[4], sent[3], *sent[5:]],
        [*sent[:3], changed, *sent[4:]],
    ):
        (fault,) = arrived(tmp_path, wrong).faults
        assert fault.endswith(" is not the ledger's next entry")


def test_an_id_that_two_entries_have_is_noticed(tmp_path: Path) -> None:
    story = [{"kind": "open"}, outcome(1), outcome(1)]
    epoch = ledgers.write(tmp_path / "ledger", iter(story))
    (fault,) = arrived(tmp_path, ledgers.read(epoch)).faults
    assert fault.endswith(" has two entries of kind outcome")
