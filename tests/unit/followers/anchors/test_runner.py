"""One anchor's task: when it asks, what it keeps and says, and what a failure costs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from authz.errors import EvidenceUnavailable
from authz.followers.anchors.anchor import Candidate, Contradicted, Receipt, Refused, Unavailable
from authz.followers.anchors.receipts import Done, Receipts
from authz.followers.anchors.runner import Anchoring
from authz.followers.places import Place
from authz.ledger import control
from tests import ledgers
from tests.unit.followers.anchors.logs import LOG, Log
from tests.wire.serving import until

BEGAN = 1_767_225_600.0  # 20260101T000000Z, as the epoch's name says


class Scripted:
    """An anchor that does what it is told: raises what is in `faults` first."""

    kind = "witness"
    every_s = 10.0

    def __init__(self) -> None:
        self.faults: list[Exception] = []
        self.sizes: list[int] = []
        self.receipt = Receipt("w.test", suffix=".cosigned", artefact=b"signed", dated=1000.0)

    def put(self, candidate: Candidate) -> Receipt:
        if self.faults:
            raise self.faults.pop(0)
        self.sizes.append(candidate.size)
        return self.receipt

    def larger(self, log: str, size: int) -> bytes | None:
        return None

    def logs(self, prefix: str) -> list[str]:
        return []


class Harness:
    """The task with a clock of the test's own; waiting ends at once."""

    def __init__(self, directory: Path) -> None:
        self.log = Log(directory / "ledger")
        self.anchor = Scripted()
        self.size = 5
        self.now = BEGAN + 100
        self.events: list[dict[str, Any]] = []
        self.learnt: list[tuple[str, int]] = []
        self.receipts = Receipts(directory / "anchors")
        self.task = self.made()

    def made(self) -> Anchoring:
        return Anchoring(
            self.anchor,
            lambda: [self.log.candidate(self.size)],
            self.receipts,
            self.events.append,
            learn=lambda log, size: self.learnt.append((log, size)),
            longest_wait_s=8.0,
            clock=lambda: self.now,
            random=lambda: 1.0,
        )

    async def look(self) -> float:
        """One pass; how long it would wait."""
        return await self.task._pass(last=False)

    def gauge(self, name: str) -> float:
        return next(value for found, _, value, _ in self.task.gauges() if found == f"aegis_anchor_{name}")


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path)


async def test_what_is_new_is_anchored_at_most_once_an_interval(harness: Harness) -> None:
    assert await harness.look() == 5.0
    harness.size = 6
    await harness.look()
    assert harness.anchor.sizes == [5]
    harness.now += 9.9
    await harness.look()
    assert harness.anchor.sizes == [5]
    harness.now += 0.1
    await harness.look()
    await harness.look()
    assert harness.anchor.sizes == [5, 6]
    harness.now += 1000
    await harness.look()
    assert harness.anchor.sizes == [5, 6]  # nothing new


async def test_what_came_back_is_kept_and_told_as_the_control_log_wants_it(harness: Harness) -> None:
    await harness.look()
    (event,) = harness.events
    control.check("anchor", event)
    candidate = harness.log.candidate(5)
    assert event == {
        "anchor": "witness",
        "dated": "1970-01-01T00:16:40.000000Z",
        "name": "w.test",
        "of": LOG,
        "place": f"{5:020}.cosigned",
        "root": candidate.checkpoint.root.hex(),
        "sha256": hashlib.sha256(b"signed").hexdigest(),
        "size": 5,
    }
    assert harness.receipts.last(LOG) == {"witness": Done(5, harness.now)}
    assert harness.receipts.shown(LOG, 5) == candidate.note


async def test_a_locked_object_is_told_with_its_version(harness: Harness) -> None:
    harness.anchor.receipt = Receipt(
        "bucket", "s3://bucket/key", ".s3", b"{}", 1000.0, "version-1", retain_until=2000.0
    )
    await harness.look()
    (event,) = harness.events
    control.check("anchor", event)
    assert (event["place"], event["version_id"]) == ("s3://bucket/key", "version-1")
    assert event["retain_until"] == "1970-01-01T00:33:20.000000Z"


async def test_one_size_is_shown_in_one_form_only(harness: Harness, tmp_path: Path) -> None:
    """After a rotation of keys the same tree has another note; what was anchored must stay the same bytes."""
    await harness.look()
    before = harness.receipts.shown(LOG, 5)
    seen: list[bytes] = []
    put = harness.anchor.put
    harness.anchor.put = lambda candidate: seen.append(candidate.note) or put(candidate)  # type: ignore[func-returns-value,method-assign]
    candidate = harness.log.candidate(5)
    other = Candidate(candidate.place, candidate.checkpoint, candidate.note + b"\xe2\x80\x94 x AAAAAAAA\n")
    await asyncio.to_thread(harness.task._put, other, harness.now)
    assert seen == [before]


async def test_a_restart_goes_on_where_it_was(harness: Harness) -> None:
    await harness.look()
    harness.size, harness.now = 6, harness.now + 3
    harness.task = harness.made()
    await harness.look()
    assert harness.anchor.sizes == [5]
    assert harness.gauge("lag_seconds") == 3.0
    harness.now += 7
    await harness.look()
    assert harness.anchor.sizes == [5, 6]


async def test_the_lag_counts_from_the_last_anchored_checkpoint_or_the_log_s_beginning(
    harness: Harness,
) -> None:
    harness.anchor.faults = [Unavailable("not now")]
    await harness.look()
    assert harness.gauge("lag_seconds") == 100.0
    assert harness.task.exposures() == {LOG: 100.0}
    await harness.look()
    assert harness.gauge("lag_seconds") == 0.0
    harness.now += 50
    assert harness.gauge("lag_seconds") == 0.0  # nothing is newer than what is anchored
    harness.size = 6
    harness.anchor.faults = [Unavailable("not now")]
    await harness.look()
    assert harness.gauge("lag_seconds") == 50.0


async def test_whoever_cannot_be_had_is_asked_again_later_and_later(harness: Harness) -> None:
    harness.anchor.faults = [Unavailable("not now") for _ in range(6)]
    waits = [await harness.look() for _ in range(6)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert (harness.task.failures, harness.task.fault) == (6, "not now")
    await harness.look()
    assert (harness.anchor.sizes, harness.task.fault) == ([5], "")


async def test_a_wait_that_was_asked_for_is_kept_within_reason(harness: Harness) -> None:
    harness.anchor.faults = [Unavailable("busy", 60.0), Unavailable("busy", 1e9)]
    assert await harness.look() == 60.0
    assert await harness.look() == 3600.0


async def test_a_disk_that_fails_or_an_outbox_that_is_full_is_like_that(harness: Harness) -> None:
    harness.anchor.faults = [OSError(28, "No space left on device"), EvidenceUnavailable("outbox full")]
    assert await harness.look() == 0.5
    assert await harness.look() == 1.0
    await harness.look()
    assert harness.anchor.sizes == [5]


async def test_a_log_that_is_refused_waits_and_others_go_on(harness: Harness) -> None:
    other = harness.log.candidate(4)
    renamed = Candidate(
        other.place, type(other.checkpoint)(LOG[:-1] + "1", 4, other.checkpoint.root), other.note
    )
    harness.task._sealed = lambda: [harness.log.candidate(5), renamed]
    harness.anchor.faults = [Refused("unknown log")]
    assert await harness.look() == 5.0
    assert harness.anchor.sizes == [4]
    assert (harness.gauge("refused_logs"), harness.gauge("contradicted_logs")) == (1, 0)
    harness.now += 0.4
    await harness.look()
    assert harness.anchor.sizes == [4]
    harness.now += 0.1
    await harness.look()
    assert harness.anchor.sizes == [4, 5]
    assert harness.gauge("refused_logs") == 0


async def test_a_contradiction_is_counted_and_looked_into(harness: Harness) -> None:
    harness.anchor.faults = [Contradicted("it knows 9 entries")]
    await harness.look()
    assert harness.gauge("contradicted_logs") == 1
    assert harness.learnt == [(LOG, 5)]


@asynccontextmanager
async def running(harness: Harness) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.create_task(harness.task.run(stop))
    yield stop
    stop.set()
    await asyncio.wait_for(task, 30)


async def test_a_stop_anchors_what_is_new_once_more(harness: Harness) -> None:
    async with running(harness):
        await until(lambda: harness.anchor.sizes == [5])
        harness.size = 7
    assert harness.anchor.sizes == [5, 7]


async def test_a_stop_waits_for_nobody(harness: Harness) -> None:
    harness.anchor.faults = [Unavailable("not now", 3000.0) for _ in range(2)]
    async with running(harness):
        await until(lambda: harness.task.failures == 1)
    assert harness.task.failures == 2


async def test_an_epoch_that_was_given_up_is_no_contradiction_for_ever(harness: Harness) -> None:
    """A later epoch's `gap` says that it was rolled back: nobody has to be told again."""
    candidate = harness.log.candidate(5)
    old = Candidate(Place(candidate.place.directory, LOG, final=True), candidate.checkpoint, candidate.note)
    gap = {"kind": "gap", "old_log": LOG, "good_entries": 5, "why": "rolled back"}
    opening = [{"kind": "open", "version": "0.1.0"}, gap]
    ledgers.write(harness.log.epoch.parents[1], iter(opening), epoch=ledgers.LATER_EPOCH)
    harness.task._sealed = lambda: [old]
    harness.anchor.faults = [Contradicted("it knows 9 entries")]
    for _ in range(3):
        await harness.look()
        harness.now += 100
    assert (harness.task.failures, harness.gauge("contradicted_logs"), harness.learnt) == (1, 0, [])


async def test_a_log_without_an_answer_keeps_no_other_waiting(harness: Harness) -> None:
    other = harness.log.candidate(4)
    renamed = Candidate(
        other.place, type(other.checkpoint)(LOG[:-1] + "1", 4, other.checkpoint.root), other.note
    )
    harness.task._sealed = lambda: [harness.log.candidate(5), renamed]
    for _ in range(3):
        harness.anchor.faults = [Unavailable("not for this one")]
        await harness.look()
        harness.now += 20
    assert harness.anchor.sizes == [4]
    assert harness.gauge("failures_total") == 3


async def test_a_checkpoint_store_that_is_away_is_waited_for(harness: Harness) -> None:
    def away(log: str, size: int) -> None:
        raise EvidenceUnavailable("the checkpoint store is away")

    harness.task._learn = away
    harness.anchor.faults = [Contradicted("it knows 9 entries")]
    assert await harness.look() == 0.5
    assert harness.task.fault == "the checkpoint store is away"
