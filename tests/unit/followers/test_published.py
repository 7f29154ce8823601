"""What logs publish: all that a checkpoint covers, by names of one form, and nothing that was not signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.errors import IntegrityViolation
from authz.followers import published
from authz.followers.published import NotPublished, Published
from authz.ledger import merkle, proofs, pruned, tiles
from authz.ledger.journal import SEGMENT_ENTRIES, Disk
from authz.ledger.proofs import Proofs
from authz.ledger.stored import Deleted
from tests import ledgers

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "LOOK_EVERY_S", 0.0)


@pytest.fixture
def epoch(tmp_path: Path) -> Path:
    return ledgers.write(tmp_path, 600)


def test_a_log_is_published_under_its_name(epoch: Path, tmp_path: Path) -> None:
    found, stored = Published(tmp_path, ledgers.TRUST), ledgers.read(epoch)
    assert found.logs() == [LOG]
    note = found.get(f"{LOG}/checkpoint")
    assert (note.body, note.fixed, note.text) == ((epoch / "checkpoint").read_bytes(), False, True)
    leaves = found.get(f"{LOG}/tile/0/001")
    assert (leaves.body, leaves.fixed) == (b"".join(map(merkle.leaf_hash, stored[256:512])), True)
    assert found.get(f"{LOG}/tile/entries/002.p/88").body == tiles.bundle(stored[512:600])
    assert len(found.get(f"{LOG}/tile/1/000.p/2").body) == 64


@pytest.mark.parametrize(
    "name",
    [
        "",
        LOG,
        f"{LOG}/",
        f"{LOG}/checkpoint/",
        f"{LOG}//checkpoint",
        f"/{LOG}/checkpoint",
        f"{LOG}x/checkpoint",
        f"{ledgers.WORKER}/checkpoint",
        f"{LOG}/entries/00000000.jsonl",
        f"{LOG}/disclosures/00000000.jsonl",
        f"{LOG}/../{ledgers.EPOCH}/checkpoint",
        f"{LOG}/tile/0/../0/000",
        f"{LOG}/tile/0/002",
        f"{LOG}/tile/0/002.p/89",
        f"{LOG}/tile/0/003.p/1",
        f"{LOG}/tile/0/2.p/88",
        f"{LOG}/tile/1/000.p/3",
        f"{LOG}/tile/2/000.p/1",
        f"{LOG}/tile/entries/002",
    ],
)
def test_nothing_else_is_published(epoch: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(NotPublished):
        Published(tmp_path, ledgers.TRUST).get(name)


def test_a_log_that_grows_is_published_up_to_its_newest_checkpoint(epoch: Path, tmp_path: Path) -> None:
    ledgers.seal(epoch, LOG, 300)
    found = Published(tmp_path, ledgers.TRUST)
    assert len(found.get(f"{LOG}/tile/0/001.p/44").body) == 44 * 32
    with pytest.raises(NotPublished):
        found.get(f"{LOG}/tile/0/001")
    ledgers.seal(epoch, LOG, 600)
    assert len(found.get(f"{LOG}/tile/0/001").body) == 8192
    assert len(found.get(f"{LOG}/tile/0/001.p/44").body) == 44 * 32, (
        "clients may still have the old checkpoint"
    )


def test_a_log_that_begins_later_is_found(epoch: Path, tmp_path: Path) -> None:
    found = Published(tmp_path, ledgers.TRUST)
    ledgers.write(tmp_path, 3, epoch=ledgers.LATER_EPOCH)
    later = f"{ledgers.WORKER}/{ledgers.LATER_EPOCH}"
    assert found.get(f"{later}/checkpoint").text
    assert found.logs() == [LOG, later]


def test_a_log_is_looked_for_at_most_once_a_second(
    epoch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for logs that are not there costs no walk through the directories each time."""
    found = Published(tmp_path, ledgers.TRUST)
    assert found.logs() == [LOG]
    monkeypatch.setattr(published, "LOOK_EVERY_S", 3600.0)
    monkeypatch.setattr(published.files, "discover", lambda path: pytest.fail("looked again"))
    for number in range(100):
        with pytest.raises(NotPublished):
            found.get(f"{ledgers.WORKER}/{number}/checkpoint")


def test_only_logs_whose_checkpoint_a_pinned_key_signed_are_published(epoch: Path, tmp_path: Path) -> None:
    ledgers.seal(epoch, LOG, seed=ledgers.OTHER_SEED)
    found = Published(tmp_path, ledgers.TRUST)
    assert found.logs() == []
    with pytest.raises(NotPublished):
        found.get(f"{LOG}/checkpoint")


def test_a_log_in_two_directories_is_published_from_neither(epoch: Path, tmp_path: Path) -> None:
    ledgers.write(tmp_path / "copy", 5)
    assert Published(tmp_path, ledgers.TRUST).logs() == []


@pytest.mark.parametrize("what", ["gone", "forged", "of another log"])
def test_a_checkpoint_that_is_not_what_it_was_is_a_violation(epoch: Path, tmp_path: Path, what: str) -> None:
    found = Published(tmp_path, ledgers.TRUST)
    assert found.logs() == [LOG]
    if what == "gone":
        (epoch / "checkpoint").unlink()
    elif what == "forged":
        ledgers.seal(epoch, LOG, seed=ledgers.OTHER_SEED)
    else:
        ledgers.seal(epoch, f"{ledgers.WORKER}/{ledgers.LATER_EPOCH}")
    with pytest.raises(IntegrityViolation, match="checkpoint"):
        found.get(f"{LOG}/checkpoint")


@pytest.mark.parametrize("resource", ["tile/0/000", "tile/entries/000"])
def test_a_changed_entry_is_not_published(epoch: Path, tmp_path: Path, resource: str) -> None:
    found = Published(tmp_path, ledgers.TRUST)
    ledgers.edit(epoch, lambda entries: entries.__setitem__(5, entries[5].replace(b"allow", b"deny!")))
    with pytest.raises(IntegrityViolation, match="the root over 600 entries is not the one that was signed"):
        found.get(f"{LOG}/{resource}")


def test_what_retention_deleted_is_not_there_and_the_rest_still_is(tmp_path: Path) -> None:
    epoch = ledgers.write_long(tmp_path, SEGMENT_ENTRIES + 700)
    stored = ledgers.read(epoch)
    pruned.keep(epoch, 0, SEGMENT_ENTRIES, Disk())
    (epoch / "entries" / "00000000.jsonl").unlink()
    found = Published(tmp_path, ledgers.TRUST)
    assert found.get(f"{LOG}/checkpoint").text
    assert len(found.get(f"{LOG}/tile/1/000").body) == 8192
    assert found.get(f"{LOG}/tile/entries/257").body == tiles.bundle(stored[257 * 256 : 258 * 256])
    for name in ("tile/entries/000", "tile/0/001", "tile/0/001.p/3"):
        with pytest.raises(NotPublished):
            found.get(f"{LOG}/{name}")
    with pytest.raises(Deleted, match="entry 17 was deleted with its segment"):
        Proofs().prove(epoch, 17, (epoch / "checkpoint").read_bytes())
    proof = proofs.parse(Proofs().prove(epoch, SEGMENT_ENTRIES + 5, (epoch / "checkpoint").read_bytes()))
    proof.check(stored[SEGMENT_ENTRIES + 5])
