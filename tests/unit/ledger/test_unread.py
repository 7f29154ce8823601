"""A start that does not read what tiles under a checkpoint stand for, and the reading of it afterwards."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz.errors import IntegrityViolation
from authz.ledger import files, recovery
from authz.ledger.journal import SEGMENT_ENTRIES
from authz.ledger.scrub import Scrub, scrub
from authz.ledger.unread import Unread
from tests.wire.serving import until
from tests.workers import Worker, decision, flip, grow

pytestmark = pytest.mark.timeout(400)  # the first of them appends 65,546 entries


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Worker:
    """A worker that was killed in its second segment, with a hand-over in the first one, and sealed."""
    worker = Worker(tmp_path_factory.mktemp("grown") / "var", reply_after="bounded")
    asyncio.run(_grow(worker))
    worker.seal()
    return worker


async def _grow(worker: Worker) -> None:
    async with worker.doomed() as ledger:
        await ledger.append("decision", decision(1))
        worker.rotate("record")
        await grow(ledger, SEGMENT_ENTRIES + 10)


@pytest.fixture
def first(grown: Worker) -> Iterator[Path]:
    """Its first segment; what a test does to it is undone."""
    grown.judged = True
    file = sorted((grown.epochs[0] / "entries").glob("*.jsonl"))[0]
    was = file.read_bytes()
    yield file
    file.write_bytes(was)
    (grown.epochs[0] / recovery.DAMAGED).unlink(missing_ok=True)


def start(worker: Worker, **how: object) -> tuple[list[Unread], int]:
    """What a start leaves unread, and where it goes on; it is killed at once."""
    left: list[Unread] = []

    async def opened() -> int:
        async with worker.doomed(leave=left.append, **how) as ledger:
            return ledger.seq

    return left, asyncio.run(opened())


def opened_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the segments that are walked from here on."""
    names: list[str] = []
    really = files.open_unbuffered

    def note(file: Path) -> object:
        names.append(file.name)
        return really(file)

    monkeypatch.setattr(files, "open_unbuffered", note)
    return names


def scrubbed(left: list[Unread]) -> tuple[int, int]:
    """How often damage was told when all that was left is read, and how many entries are then unread."""
    told: list[bool] = []
    reading = Scrub(lambda: told.append(True))
    for unread in left:
        reading.leave(unread)
    asyncio.run(reading.run())
    return len(told), reading.entries


def test_what_lies_under_the_checkpoint_is_not_read(grown: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    names = opened_files(monkeypatch)
    epochs = len(grown.epochs)
    left, _ = start(grown)
    assert names == ["00000001.jsonl"]
    assert [(unread.segments, unread.directory) for unread in left] == [(1, grown.epochs[0])]
    assert len(grown.epochs) == epochs  # the log went on, under the key that took over in what was not read
    monkeypatch.undo()
    assert scrubbed(left) == (0, 0)
    grown.check()


def test_without_somebody_who_reads_it_later_all_is_read(
    grown: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = opened_files(monkeypatch)

    async def opened() -> None:
        async with grown.doomed():
            pass

    asyncio.run(opened())
    assert names[:2] == ["00000000.jsonl", "00000001.jsonl"]


def test_damage_in_it_is_found_while_serving_and_stops_the_next_start(grown: Worker, first: Path) -> None:
    flip(first, 100)
    left, _ = start(grown)
    assert scrubbed(left)[0] == 1
    word = (grown.epochs[0] / recovery.DAMAGED).read_text()
    assert f"{first}, line 101, seq 100:" in word
    with pytest.raises(IntegrityViolation) as stopped:
        start(grown)
    assert (stopped.value.seq, stopped.value.line) == (100, 101)


@pytest.mark.parametrize(("place", "named"), [(0, 0), (SEGMENT_ENTRIES - 1, SEGMENT_ENTRIES)])
def test_the_ends_of_it_are_looked_at_by_the_start_itself(
    grown: Worker, first: Path, place: int, named: int
) -> None:
    flip(first, place)
    with pytest.raises(IntegrityViolation) as stopped:
        start(grown)
    assert stopped.value.seq == named  # of the last one, where the next one links to it


def test_what_was_damaged_and_is_whole_again_goes_on(grown: Worker, first: Path) -> None:
    (grown.epochs[0] / recovery.DAMAGED).write_text("as somebody found\n")
    left, _ = start(grown)
    assert left == []  # all of it was read
    assert not (grown.epochs[0] / recovery.DAMAGED).exists()
    assert len(start(grown)[0]) == 1


def test_a_segment_that_lost_a_line_is_found_by_whoever_reads_it(grown: Worker, first: Path) -> None:
    lines = first.read_bytes().split(b"\n")
    first.write_bytes(b"\n".join(lines[:10] + lines[11:]))
    left, _ = start(grown)
    assert scrubbed(left)[0] == 1


def test_a_segment_that_is_gone_stops_the_start(grown: Worker, first: Path) -> None:
    first.unlink()
    with pytest.raises(IntegrityViolation, match="missing"):
        start(grown)


def test_tiles_that_lie_or_are_gone_are_not_believed(grown: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    tile = grown.epochs[0] / "tile/1/000"
    assert tile.exists()
    was = tile.read_bytes()
    try:
        tile.write_bytes(bytes(len(was)))
        names = opened_files(monkeypatch)
        start(grown)
        assert names in (["00000001.jsonl"], ["00000000.jsonl", "00000001.jsonl"])
        tile.unlink()
        assert len(start(grown)[0]) == 1  # hashed again from the entries
    finally:
        tile.write_bytes(was)
    grown.check()


def test_a_record_key_that_this_worker_never_had_is_not_gone_on_with(
    grown: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = opened_files(monkeypatch)
    monkeypatch.setattr("authz.ledger.record_keys.RecordKeys.by_kid", lambda self, kid: None)
    start(grown)
    assert names[0] == "00000000.jsonl"


async def test_reading_that_is_cancelled_leaves_no_process(grown: Worker) -> None:
    size = SEGMENT_ENTRIES + 1
    before = children()  # servers of other tests
    reading = asyncio.create_task(scrub(Unread(grown.epochs[0], "aegis.test/a/b", 1, size, bytes(32))))
    await until(lambda: children() != before)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert children() == before


def children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


async def test_what_cannot_be_read_is_no_damage_and_stays_unread(
    grown: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    reading = Scrub(lambda: told.append(True))
    reading.leave(Unread(grown.epochs[0], "aegis.test/a/b", 1, SEGMENT_ENTRIES, bytes(32)))
    monkeypatch.setattr(sys, "executable", "/none/python")
    await reading.run()
    assert (told, reading.entries) == ([], SEGMENT_ENTRIES)
