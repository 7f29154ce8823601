"""What anchors gave is kept whole, and what was anchored last is known after a restart."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from authz.followers.anchors.anchor import Receipt
from authz.followers.anchors.receipts import LAST, Done, Receipts
from authz.ledger import anchors
from tests.anchored import trusting
from tests.cosigning import cosigned
from tests.unit.followers.anchors.logs import LOG, Log


@pytest.fixture
def receipts(tmp_path: Path) -> Receipts:
    return Receipts(tmp_path / "anchors")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "ledger")


def test_what_is_kept_is_what_a_verifier_takes(receipts: Receipts, log: Log, tmp_path: Path) -> None:
    candidate = log.candidate(5)
    kept = receipts.keep(candidate, Receipt("w", suffix=".cosigned", artefact=cosigned(candidate.note, 1000)))
    assert kept == tmp_path / "anchors" / LOG / f"{5:020}.cosigned"
    receipts.keep(log.candidate(7), Receipt("d"))
    given = anchors.read([tmp_path / "anchors"], trusting())
    assert [(dated.size, dated.by) for dated in given.newest(LOG)] == [(7, ""), (5, "witnesses")]
    assert receipts.shown(LOG, 5) == candidate.note
    assert receipts.shown(LOG, 6) is None


def test_the_last_of_each_kind_is_known_to_the_next_process(
    receipts: Receipts, log: Log, tmp_path: Path
) -> None:
    assert receipts.last(LOG) == {}
    receipts.keep(log.candidate(5), Receipt("w"))
    receipts.note(LOG, "witness", Done(5, 1000.5))
    receipts.note(LOG, "s3", Done(4, 900.0))
    receipts.note(LOG, "witness", Done(6, 1001.0))
    again = Receipts(tmp_path / "anchors")
    assert again.last(LOG) == {"witness": Done(6, 1001.0), "s3": Done(4, 900.0)}


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 4000,
        b'{"witness":1}',
        b'{"witness":{"size":-1,"at":1.0}}',
        b'{"witness":{"size":1,"at":NaN}}',
        b'{"witness":{"size":true,"at":1.0}}',
    ],
)
def test_what_cannot_be_read_means_that_it_is_anchored_again(
    receipts: Receipts, log: Log, tmp_path: Path, stored: bytes
) -> None:
    receipts.keep(log.candidate(5), Receipt("w"))
    (tmp_path / "anchors" / LOG / LAST).write_bytes(stored)
    assert receipts.last(LOG) == {}
    receipts.note(LOG, "witness", Done(5, 1.0))
    assert receipts.last(LOG) == {"witness": Done(5, 1.0)}


def test_the_threads_of_all_anchors_may_keep_at_once(receipts: Receipts, log: Log, tmp_path: Path) -> None:
    candidate, kinds = log.candidate(5), [f"kind-{number}" for number in range(8)]

    def keep(kind: str) -> None:
        for size in range(1, 20):
            receipts.keep(candidate, Receipt(kind, suffix=f".{kind}", artefact=kind.encode()))
            receipts.note(LOG, kind, Done(size, 1.0))

    with ThreadPoolExecutor(len(kinds)) as pool:
        list(pool.map(keep, kinds))
    assert receipts.last(LOG) == {kind: Done(19, 1.0) for kind in kinds}
