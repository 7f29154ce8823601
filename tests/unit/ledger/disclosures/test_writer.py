"""Disclosures get down beside the log, encrypted; what becomes of them changes no entry and no answer."""

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from authz.errors import EvidenceUnavailable
from authz.ledger.disclosures import form, place, reader
from authz.ledger.disclosures import writer as writing
from tests import disclosed
from tests.unit.ledger.disks import FullDisk
from tests.workers import Worker


@pytest.fixture
def keeping(worker: Worker) -> Worker:
    return disclosed.keeps(worker)


def names(worker: Worker) -> list[list[str]]:
    """The names of what is kept, opened, of each line of the newest epoch; all of it fits its entry."""
    epoch = worker.epochs[-1]
    entries = worker.check()[-1]
    opener = reader.Opener(epoch, entries[0]["log"], disclosed.vault(worker))
    found = []
    for kept in reader.kept(epoch, 0):
        entry = entries[kept.line.seq]
        assert entry["decision_id"] == kept.line.decision_id
        found.append([each.name for each in reader.fitting(opener.open(kept), entry["_sd"])])
    return found


async def test_what_is_kept_is_sealed_private_and_fits_its_entry(keeping: Worker) -> None:
    await disclosed.decide(keeping, 5)
    assert names(keeping) == [["facts", "client_address"]] * 5
    file = disclosed.file(keeping)
    assert b"person-3" not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0


async def test_by_default_nothing_is_kept(worker: Worker) -> None:
    async with worker.running() as ledger:
        await disclosed.append(ledger, 1, {"facts": 1})
    assert not (worker.epochs[-1] / place.DIRECTORY).exists()


async def test_a_worker_that_was_killed_goes_on_and_cuts_what_it_did_not_finish(keeping: Worker) -> None:
    async with keeping.doomed() as ledger:
        await disclosed.append(ledger, 1, {"a": 1})
    with disclosed.file(keeping).open("ab") as file:
        file.write(b'{"decision_id":"half of a li')
    async with keeping.running() as ledger:
        await disclosed.append(ledger, 2, {"b": 1})
    assert len(keeping.epochs) == 1
    assert names(keeping) == [["a"], ["b"]]


async def test_a_file_that_was_put_in_its_place_is_written_to_under_a_new_key(keeping: Worker) -> None:
    async with keeping.running() as ledger:
        await disclosed.append(ledger, 1, {"a": 1})
        disclosed.file(keeping).rename(disclosed.file(keeping).with_suffix(".old"))
        await disclosed.append(ledger, 2, {"b": 1})
    assert names(keeping) == [["b"]]
    assert len(list(disclosed.vault(keeping).stored(keeping.epochs[-1]))) == 2


async def test_while_somebody_erases_lines_wait_and_answers_do_not(
    keeping: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_PENDING", 2)
    async with keeping.running() as ledger:
        await disclosed.append(ledger, 1, {"a": 1})
        with place.changing(keeping.epochs[-1]):
            for number in (2, 3, 4):
                await disclosed.append(ledger, number, {"b": number})
            assert len(list(reader.kept(keeping.epochs[-1], 0))) == 1
        assert ledger.disclosures
        assert ledger.disclosures.lost == 1
        await disclosed.append(ledger, 5, {"c": 1})
    assert names(keeping) == [["a"], ["b"], ["b"]]


async def test_what_cannot_be_kept_is_counted_and_no_decision_fails(
    keeping: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    async with keeping.running() as ledger:
        await disclosed.append(ledger, 1, {"a": 1})
        with monkeypatch.context() as broken, capture_logs() as logs:
            broken.setattr(writing, "_append", full)
            for number in (2, 3):
                await disclosed.append(ledger, number, {"b": 1})
        assert [line["event"] for line in logs] == ["disclosures_lost"]
        await disclosed.append(ledger, 4, {"c": 1})
        assert ledger.disclosures
        assert ledger.disclosures.lost == 2
    assert names(keeping) == [["a"], ["c"]]


async def test_an_entry_that_was_not_written_leaves_no_disclosure(keeping: Worker) -> None:
    disk = FullDisk(1 << 20)
    async with keeping.running(disk) as ledger:
        await disclosed.append(ledger, 1, {"a": 1})
        disk.room = 0
        with pytest.raises(EvidenceUnavailable):
            await disclosed.append(ledger, 2, {"b": 1})
        disk.room = 1 << 20
        await disclosed.append(ledger, 3, {"c": 1})
    assert names(keeping) == [["a"], ["c"]]


def test_a_part_of_a_line_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    writing._append(fd, b"one\n")
    real = os.write

    def half(fd: int, data: memoryview) -> int:
        if len(data) < 8:
            raise OSError(28, "full")
        return real(fd, data[: len(data) // 2])

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", half)
        with pytest.raises(OSError, match="full"):
            writing._append(fd, b"another line\n")
    os.close(fd)
    assert (tmp_path / "file").read_bytes() == b"one\n"


def test_each_segment_has_a_file_and_a_key_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = tmp_path / "worker-0" / "e"
    epoch.mkdir(parents=True)
    monkeypatch.setattr(writing, "SEGMENT_ENTRIES", 4)
    vault = writing.Vault(tmp_path / "keys", bytes(32))
    keeper = writing.DisclosureWriter(epoch, "d/w/e", vault)
    for seq in (2, 3, 4, 9):
        keeper.add(seq, f"id-{seq}", (form.make("a", seq, b"1" * 16),))
    keeper.write(10)
    keeper.close()
    assert place.numbers(epoch) == [0, 1, 2]
    assert [stored.number for stored in vault.stored(epoch)] == [0, 1, 2]
    opener = reader.Opener(epoch, "d/w/e", vault)
    found = [opener.open(kept).line.seq for number in (0, 1, 2) for kept in reader.kept(epoch, number)]
    assert found == [2, 3, 4, 9]
