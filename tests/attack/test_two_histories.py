"""Two histories under one log's name are never both signed, whichever store of what was signed there is.

A disk rolled back, a directory copied to a second machine, two followers at once: each is detected, and owned
up to in the `gap` of a new epoch.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from authz.errors import EvidenceUnavailable, IntegrityViolation
from authz.followers.own_keys import OwnKeys
from authz.followers.seal import Sealer
from authz.ledger import machine, merkle, notes
from tests import ledgers
from tests.stores import Place
from tests.workers import Worker, decision


@pytest.fixture
def worker(tmp_path: Path, place: Place) -> Iterator[Worker]:
    made = Worker(tmp_path / "var", follower=place.told_absolutely())
    yield made
    if not made.judged:
        made.check()


async def die(worker: Worker, *numbers: int, **how: object) -> None:
    async with worker.doomed(**how) as ledger:
        for number in numbers:
            await ledger.append("decision", decision(number))


async def live(worker: Worker, *numbers: int, **how: object) -> None:
    async with worker.running(**how) as ledger:
        for number in numbers:
            await ledger.append("decision", decision(number))


def gaps(worker: Worker) -> list[str]:
    return [entry["why"] for entry in ledgers.members(worker.epochs[-1]) if entry["kind"] == "gap"]


def note(worker: Worker, epoch: int = -1) -> notes.Checkpoint:
    return notes.parse((worker.epochs[epoch] / "checkpoint").read_bytes())


def copied(worker: Worker, to: Path) -> Worker:
    """The whole state but the store, which is elsewhere, on another machine."""
    shutil.copytree(worker.state, to, ignore=shutil.ignore_patterns("*.lock"))
    return Worker(to, follower=worker.settings.follower.model_dump(exclude_defaults=True))


async def test_a_disk_that_was_rolled_back(worker: Worker, tmp_path: Path) -> None:
    await die(worker, 1)
    shutil.copytree(worker.root, tmp_path / "image")
    await die(worker, 2)
    worker.seal()
    for file in (tmp_path / "image").rglob("*.jsonl"):  # in place: even directories keep their identity
        (worker.root / file.relative_to(tmp_path / "image")).write_bytes(file.read_bytes())
    (worker.epochs[0] / "checkpoint").unlink()  # the image had none: only the store knows
    worker.judged = True
    with pytest.raises(IntegrityViolation, match="rolled back: 4 entries were sealed, and 2 are there"):
        worker.seal()
    await live(worker, 3)
    assert gaps(worker) == ["rolled back: 4 entries were sealed, the disk holds 2"]
    worker.seal()
    assert note(worker).size == len(ledgers.members(worker.epochs[-1]))


async def test_an_image_from_before_the_newest_epoch(worker: Worker, tmp_path: Path) -> None:
    await live(worker, 1)
    await live(worker, 2)
    worker.seal()
    lost = worker.epochs[1]
    shutil.rmtree(lost)
    await live(worker, 3)
    assert gaps(worker) == ["this disk does not hold the log"]
    assert worker.epochs[-1].name > lost.name


async def test_a_directory_copied_to_a_second_machine_goes_on_in_an_epoch_of_its_own(
    worker: Worker, tmp_path: Path
) -> None:
    await die(worker, 1)
    worker.seal()
    copy = copied(worker, tmp_path / "copy")
    await live(copy, 2, boot_id=lambda: "another machine")
    await live(worker, 3)
    assert gaps(copy) == ["the directory was copied or restored"]
    for each in (worker, copy):
        each.seal()
    copy.check()
    assert note(worker).log != note(copy).log


async def test_a_copy_that_pretends_to_be_the_first_machine_is_not_sealed_where_it_differs(
    worker: Worker, tmp_path: Path
) -> None:
    """An attacker who can fake the boot and the place of the directory: the store tells the two apart."""
    await die(worker, 1)
    worker.seal()
    copy = copied(worker, tmp_path / "copy")
    first = machine.directory_id(worker.epochs[0])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(machine, "directory_id", lambda path: first)
        await die(copy, 2)
    await die(worker, 3)
    worker.seal()
    signed = note(worker)
    copy.judged = True
    with pytest.raises(IntegrityViolation, match="the root over 4 entries is not the one that was signed"):
        copy.seal()
    assert note(copy).size < signed.size
    with pytest.raises(IntegrityViolation, match="--accept-damage"):
        await live(copy, 4)
    await live(copy, 4, accept_damage=True)
    assert gaps(copy)[0].startswith("damage: ")
    copy.seal()
    assert note(copy).log != signed.log


async def test_two_followers_at_once_sign_one_history(worker: Worker, place: Place) -> None:
    """On a disk that two machines share no lock keeps them apart: the store does."""
    with place.opened() as one, place.opened() as two:
        root, deployment = worker.root.parent, worker.settings.deployment
        sealers = [Sealer(root, deployment, store, OwnKeys.of(worker.settings)) for store in (one, two)]
        signed: dict[int, bytes] = {}
        async with worker.running() as ledger:
            for number in range(12):
                await ledger.append("decision", decision(number))
                await asyncio.gather(*(asyncio.to_thread(_round, sealer) for sealer in sealers))
                there = note(worker)
                assert signed.setdefault(there.size, there.root) == there.root
            for sealer in sealers:
                _round(sealer)
            assert note(worker).size == ledger.seq
        for sealer in sealers:
            sealer.close()
    leaves = [merkle.leaf_hash(entry) for entry in ledgers.read(worker.epochs[0])]
    assert all(merkle.root(leaves[:size]) == root for size, root in signed.items())


def _round(sealer: Sealer) -> None:
    """The other one may have been quicker with the store, or with the note's file."""
    with suppress(EvidenceUnavailable, FileNotFoundError):
        sealer.round()


async def test_two_followers_of_two_copies_sign_one_of_them(worker: Worker, tmp_path: Path) -> None:
    await die(worker, 1)
    copy = copied(worker, tmp_path / "copy")
    first = machine.directory_id(worker.epochs[0])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(machine, "directory_id", lambda path: first)
        await die(copy, 2)
    await die(worker, 3)
    copy.judged = worker.judged = True
    copy.seal()
    with pytest.raises(IntegrityViolation, match="the root over 4 entries is not the one"):
        worker.seal()
    assert not (worker.epochs[0] / "checkpoint").exists()


async def test_a_store_that_is_away_lets_nothing_be_signed_and_no_ledger_be_opened(
    worker: Worker, place: Place
) -> None:
    await die(worker, 1)
    worker.seal()
    before = note(worker)
    with place.away(), pytest.raises(EvidenceUnavailable, match=place.name):
        worker.seal()
    with place.away(), pytest.raises(EvidenceUnavailable, match=place.name):
        await live(worker, 2)
    assert note(worker) == before
    await live(worker, 2)
    worker.seal()
    assert note(worker).size > before.size
