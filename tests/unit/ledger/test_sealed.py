"""The checkpoint in a log's directory: only one by a pinned key of the log that it names counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.errors import IntegrityViolation
from authz.ledger import keys, sealed
from authz.ledger.trust import Trust
from tests import ledgers

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"


@pytest.fixture
def epoch(tmp_path: Path) -> Path:
    return ledgers.write(tmp_path, 3)


def test_what_the_pinned_key_signed_is_read(epoch: Path) -> None:
    found = sealed.read(epoch, ledgers.TRUST)
    assert found is not None
    assert (found.log, found.checkpoint.size, found.note) == (LOG, 3, (epoch / "checkpoint").read_bytes())


def test_what_is_known_already_is_not_judged_again(epoch: Path) -> None:
    known = sealed.read(epoch, ledgers.TRUST)
    assert sealed.read(epoch, Trust({}, ()), known) is known
    ledgers.seal(epoch, LOG, 2)
    newer = sealed.read(epoch, ledgers.TRUST, known)
    assert newer is not None
    assert newer.checkpoint.size == 2


def test_before_the_first_there_is_none(epoch: Path) -> None:
    (epoch / "checkpoint").unlink()
    assert sealed.read(epoch, ledgers.TRUST) is None


@pytest.mark.parametrize(
    ("pinned", "said"),
    [
        (Trust({}, ()), "no key is pinned for"),
        (
            Trust({f"{ledgers.WORKER}/": (keys.public_key(ledgers.OTHER_SEED),)}, ()),
            "not signed by the pinned",
        ),
    ],
)
def test_nobody_else_s_word_counts(epoch: Path, pinned: Trust, said: str) -> None:
    with pytest.raises(IntegrityViolation, match=f"checkpoint: checkpoint: {said}"):
        sealed.read(epoch, pinned)


def test_what_is_no_checkpoint_is_a_violation(epoch: Path) -> None:
    file = epoch / "checkpoint"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(IntegrityViolation, match="checkpoint: note: "):
        sealed.read(epoch, ledgers.TRUST)
    file.unlink()
    file.mkdir()
    with pytest.raises(IntegrityViolation, match="checkpoint: not a regular file"):
        sealed.read(epoch, ledgers.TRUST)
