"""An old image of the disk is put back, with the checkpoint store on it, and the worker is started.

Nothing on this machine remembers what was recorded since. Those outside do: the worker asks them before it
goes on, says what is gone in a `gap`, and begins a new epoch (EVIDENCE section 4).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz.followers.anchors.anchor import Candidate
from authz.followers.anchors.directory import DirectoryAnchor
from authz.followers.anchors.seen import AtStart
from authz.followers.anchors.witness import WitnessAnchor
from authz.followers.places import Place
from authz.ledger import notes, quorum
from authz.ledger.proofs import Proofs
from tests import ledgers
from tests.witnessing import RealWitness, witness
from tests.workers import Worker, decision


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealWitness]:
    with witness(tmp_path / "witness") as made:
        yield made


@pytest.fixture
def elsewhere(tmp_path: Path) -> DirectoryAnchor:
    (tmp_path / "elsewhere").mkdir()
    return DirectoryAnchor(tmp_path / "elsewhere", 1)


def cosigner(real: RealWitness) -> WitnessAnchor:
    proofs = Proofs()

    def prove(candidate: Candidate, old: int) -> list[bytes]:
        return proofs.tree(candidate.place.directory, candidate.checkpoint).consistency_proof(old)

    policy = quorum.parse(real.policy().encode())
    return WitnessAnchor(policy, prove, every_s=1, timeout_s=20, tls=None)


def newest(worker: Worker) -> Candidate:
    """What the follower would show to anchors now."""
    worker.seal()
    epoch = worker.epochs[-1]
    log = f"{ledgers.WORKER}/{epoch.name}"
    note = (epoch / "checkpoint").read_bytes()
    return Candidate(Place(epoch, log, final=False), notes.parse(note), note)


async def die(worker: Worker, *numbers: int) -> None:
    async with worker.doomed() as ledger:
        for number in numbers:
            await ledger.append("decision", decision(number))


class Image:
    """The state directory as it is now. Directories stay the same ones when it is put back, as they do with
    an image of the whole disk.
    """

    def __init__(self, worker: Worker, directory: Path) -> None:
        self._worker, self._kept = worker, directory
        shutil.copytree(worker.state, directory)

    def put_back(self) -> None:
        for kept in self._kept.rglob("*"):
            if kept.is_file():
                shutil.copyfile(kept, self._worker.state / kept.relative_to(self._kept))


def gaps(worker: Worker) -> list[tuple[str, int]]:
    return [
        (entry["why"], entry.get("sealed_entries", 0))
        for entry in ledgers.members(worker.epochs[-1])
        if entry["kind"] == "gap"
    ]


async def test_without_anybody_outside_it_would_be_continued(worker: Worker, tmp_path: Path) -> None:
    await die(worker, 1)
    worker.seal()
    image = Image(worker, tmp_path / "image")
    await die(worker, 2, 3)
    worker.seal()
    image.put_back()
    await die(worker, 4)
    assert len(worker.epochs) == 1
    worker.check()  # and nothing here can tell


@pytest.mark.parametrize("who", ["witness", "directory"])
async def test_those_outside_remember(
    worker: Worker, real: RealWitness, elsewhere: DirectoryAnchor, tmp_path: Path, who: str
) -> None:
    await die(worker, 1)
    worker.seal()
    image = Image(worker, tmp_path / "image")
    await die(worker, 2, 3)
    candidate = newest(worker)
    real.trust(candidate.log)
    anchor = elsewhere if who == "directory" else cosigner(real)
    anchor.put(candidate)
    image.put_back()
    async with worker.running(outside=AtStart([anchor], 20)) as ledger:
        await ledger.append("decision", decision(4))
    old, new = worker.epochs
    held = len(ledgers.read(old))
    assert held < candidate.size
    assert gaps(worker) == [
        (f"rolled back: {candidate.size} entries were sealed, the disk holds {held}", candidate.size)
    ]
    assert ledgers.members(new)[1]["old_log"] == candidate.log
    worker.check()


async def test_an_epoch_that_is_not_on_the_image_is_given_up_too(
    worker: Worker, elsewhere: DirectoryAnchor, tmp_path: Path
) -> None:
    await die(worker, 1)
    worker.seal()
    image = Image(worker, tmp_path / "image")
    async with worker.running(boot_id=lambda: "another boot") as ledger:
        await ledger.append("decision", decision(2))
    candidate = newest(worker)
    elsewhere.put(candidate)
    shutil.rmtree(worker.epochs[-1])
    image.put_back()
    async with worker.running(outside=AtStart([elsewhere], 20)):
        pass
    assert gaps(worker) == [("this disk does not hold the log", 0)]
    assert ledgers.members(worker.epochs[-1])[1]["old_log"] == candidate.log
    assert worker.epochs[-1].name > candidate.log.rpartition("/")[2]
    worker.check()


async def test_nobody_but_the_log_key_can_have_a_ledger_given_up(
    worker: Worker, elsewhere: DirectoryAnchor, tmp_path: Path
) -> None:
    await die(worker, 1)
    candidate = newest(worker)
    later = f"{ledgers.WORKER}/29990101T000000Z-0000000000000000"
    for log, size in ((candidate.log, 99), (later, 5)):
        directory = tmp_path / "elsewhere" / log
        directory.mkdir(parents=True, exist_ok=True)
        forged = notes.sign(log, size, b"\x09" * 32, ledgers.OTHER_SEED)
        (directory / f"{size:020}").write_bytes(forged)
    async with worker.running(outside=AtStart([elsewhere], 20)):
        pass
    assert len(worker.epochs) == 1
    assert gaps(worker) == []


async def test_who_does_not_answer_delays_a_start_and_does_not_prevent_it(
    worker: Worker, real: RealWitness
) -> None:
    await die(worker, 1)
    anchor = cosigner(real)
    real.stop()
    async with worker.running(outside=AtStart([anchor], 20)):
        pass
    assert len(worker.epochs) == 1
