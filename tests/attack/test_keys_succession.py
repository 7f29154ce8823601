"""A record key that is not in use, or not any more, attests entries: retired, unknown, or not handed over to.

Every key here is pinned unless a test says otherwise: what stands in the way is where it may be used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from authz.ledger import merkle, verify
from authz.ledger.journal import SEGMENT_ENTRIES
from authz.ledger.report import Fault
from authz.ledger.signer import Signer
from authz.ledger.trust import Trust
from tests import ledgers
from tests.handing import LOG, add, entries, hand_over, tip

OLD, NEW, STRANGER = ledgers.SIGNER, Signer(ledgers.OTHER_SEED), Signer(b"\x09" * 32)
PINNED = Trust(ledgers.TRUST.log_keys, (OLD.public, NEW.public))


def stored(tmp_path: Path, said: list[bytes], epoch: str = ledgers.EPOCH) -> Path:
    directory = tmp_path / "worker-0" / epoch
    ledgers.store(directory, said)
    ledgers.seal(directory, f"{ledgers.WORKER}/{epoch}")
    return directory


def fault(tmp_path: Path, pinned: Trust = PINNED) -> Fault:
    found = verify.verify(tmp_path, pinned, 3).first_fault
    assert found is not None
    return found


def test_the_log_is_good_but_for_what_is_done_to_it(tmp_path: Path) -> None:
    stored(tmp_path, entries(OLD, NEW))
    assert verify.verify(tmp_path, PINNED, 3).verified


def test_a_retired_key_attests_after_its_retirement(tmp_path: Path) -> None:
    said = entries(OLD, NEW)
    add(said, ledgers.decision(4), OLD)
    stored(tmp_path, said)
    found = fault(tmp_path)
    assert found.what == f"attestation: by key {OLD.kid}, where {NEW.kid} is in use"
    assert (found.line, found.seq) == (6, 5)


def test_a_pinned_key_attests_without_a_hand_over(tmp_path: Path) -> None:
    said = entries(OLD, NEW)[:2]
    add(said, ledgers.decision(4), NEW)
    stored(tmp_path, said)
    assert fault(tmp_path).what == f"attestation: by key {NEW.kid}, where {OLD.kid} is in use"


def test_a_hand_over_by_another_pinned_key_than_the_one_in_use(tmp_path: Path) -> None:
    said = entries(OLD, NEW)[:2]
    stored(tmp_path, [*said, hand_over(said, STRANGER, by=NEW, naming=OLD)])
    found = fault(tmp_path)
    assert (found.what, found.seq) == (f"attestation: by key {NEW.kid}, where {OLD.kid} is in use", 2)


def test_a_hand_over_in_the_name_of_another_key(tmp_path: Path) -> None:
    said = entries(OLD, NEW)[:2]
    stored(tmp_path, [*said, hand_over(said, NEW, by=OLD, naming=STRANGER)])
    found = fault(tmp_path)
    assert (found.what, found.seq) == (f"key: handed over by {OLD.kid}, which is not {STRANGER.kid}", 2)


def test_a_hand_over_makes_nobody_trusted(tmp_path: Path) -> None:
    """Whoever held the old key may name any other: only trust that was pinned says whether it counts."""
    stored(tmp_path, entries(OLD, STRANGER))
    found = fault(tmp_path)
    assert (found.what, found.seq) == ("attestation: by a key that is not in trust", 3)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"size": 1}, "size or tail_hash"),
        ({"tail_hash": "00" * 32}, "size or tail_hash"),
        ({"key_id": STRANGER.kid}, "key_id is not the thumbprint"),
    ],
)
def test_a_hand_over_that_says_another_place_or_key(
    tmp_path: Path, changed: dict[str, Any], why: str
) -> None:
    said = entries(OLD, NEW)[:2]
    stored(tmp_path, [*said, hand_over(said, NEW, by=OLD, **changed)])
    found = fault(tmp_path)
    assert why in found.what
    assert found.seq == 2


def test_a_hand_over_replayed_from_another_log_hands_nothing_over(tmp_path: Path) -> None:
    """It is attested by the key in use here, too; but it names the log where it was said."""
    other = LOG.replace("worker-0", "worker-1")
    said = entries(OLD, NEW)[:2]
    members = ledgers.canonical.parse(entries(OLD, NEW, log=other)[2])
    del members["attestation_signature"]
    moved = members | {"log": LOG, "seq": 2, "previous_entry_hash": tip(said)}
    stored(tmp_path, [*said, ledgers.line(moved, LOG, 2, tip(said), OLD)])
    assert verify.verify(tmp_path, PINNED, 3).verified
    add(said, moved, OLD)
    add(said, ledgers.decision(4), NEW)
    stored(tmp_path, said)
    assert fault(tmp_path).what == f"attestation: by key {NEW.kid}, where {OLD.kid} is in use"


def test_a_retired_key_begins_an_epoch_of_its_own(tmp_path: Path) -> None:
    stored(tmp_path, entries(OLD, NEW))
    later: list[bytes] = []
    log = f"{ledgers.WORKER}/{ledgers.LATER_EPOCH}"
    add(later, {"kind": "open", "record_keys": [OLD.public_jwk]}, OLD, log)
    epoch = stored(tmp_path, later, ledgers.LATER_EPOCH)
    found = fault(tmp_path)
    assert found.what == f"attestation: by key {OLD.kid}, which was followed by another one at {LOG}, seq 3"
    assert (found.file, found.line, found.seq) == (str(epoch / "entries" / "00000000.jsonl"), 1, 0)
    assert verify.verify(epoch, PINNED, 3).verified, "alone it cannot be told"


def test_a_retired_key_attests_a_later_segment(tmp_path: Path) -> None:
    """Segments are walked apart from each other: what is in use is compared where they are put together."""
    said = entries(OLD, NEW)
    previous = tip(said)
    for seq in range(len(said), SEGMENT_ENTRIES):
        said.append(ledgers.line({"kind": "heartbeat"}, LOG, seq, previous, NEW))
        previous = merkle.leaf_hash(said[-1]).hex()
    good = [*said]
    add(good, {"kind": "heartbeat"}, NEW)
    stored(tmp_path, good)
    assert verify.verify(tmp_path, PINNED, 3).verified
    add(said, {"kind": "heartbeat"}, OLD)
    stored(tmp_path, said)
    found = fault(tmp_path)
    assert found.what == f"attestation: by key {OLD.kid}, where {NEW.kid} is in use"
    assert (found.line, found.seq) == (1, SEGMENT_ENTRIES)
