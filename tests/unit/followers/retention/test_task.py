"""What follows a ledger goes on beside pruned epochs, and the follower's task says what it did."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest

from authz.errors import EvidenceUnavailable
from authz.followers import reading
from authz.followers.durable import Durable
from authz.followers.own_keys import OwnKeys
from authz.followers.reading import Position
from authz.followers.retention.prune import Did
from authz.followers.retention.task import RetentionTask
from authz.ledger import files, notes, reader
from authz.ledger.completeness.walk import Walking
from authz.ledger.outbox import Outbox
from tests import retaining
from tests.retaining import YEAR, Retaining
from tests.wire.serving import until
from tests.workers import Worker

LATE, GRACE = YEAR + timedelta(days=30), timedelta(days=7)


@pytest.fixture
def outbox(worker: Worker) -> Iterator[Outbox]:
    with Outbox(worker.settings.outbox) as made:
        yield made


@pytest.fixture
async def pruned_worker(worker: Worker, outbox: Outbox) -> Worker:
    """Four epochs of five entries, the two oldest pruned."""
    await retaining.aged(worker)
    worker.judged = True
    retention = Retaining(worker, outbox)
    for after in (LATE, LATE + GRACE, LATE + GRACE):
        retention.round(after)
        outbox.written(1 << 40)
    assert [bool(files.segments(epoch).pruned) for epoch in worker.epochs] == [True, True, False, False]
    return worker


def test_a_follower_that_starts_again_seals_on(pruned_worker: Worker) -> None:
    pruned_worker.seal()


def test_what_may_leave_is_as_much_as_before_and_is_passed_over(pruned_worker: Worker) -> None:
    settings = pruned_worker.settings
    extents = Durable(pruned_worker.root.parent, settings.deployment, OwnKeys.of(settings)).extents()
    assert [(extent.size, extent.whole) for extent in extents[:3]] == [(5, True)] * 3
    first = extents[0]
    assert reading.take(first.directory, first.log, Position(), 5, entries=9, size=1 << 20) == []
    middle = Position(2, "00" * 32, 100)
    assert reading.take(first.directory, first.log, middle, 5, entries=9, size=1 << 20) == []
    reading.check(first.directory, first.log, Position(5, "00" * 32, 100), "cursor")


def test_readers_pass_over_what_is_pruned(pruned_worker: Worker) -> None:
    first, last = pruned_worker.epochs[0], pruned_worker.epochs[-1]
    assert list(reader.entries(first)) == []
    assert (reader.first_entry(first)["kind"], reader.last_entry(first)) == ("open", {})
    assert len(list(reader.entries(last))) == 5
    assert reader.by_seq(first, 2) == []


class Rounds:
    """A Pruning whose rounds are given."""

    def __init__(self, *rounds: list[Did] | Exception) -> None:
        self.rounds = list(rounds)

    def round(self) -> list[Did]:
        said = self.rounds.pop(0) if self.rounds else []
        if isinstance(said, Exception):
            raise said
        return said


async def test_the_task_counts_what_it_did_and_goes_on_after_a_failure() -> None:
    deleted, held = Did("d/w/e", 0, "deleted"), Did("d/w/e", 1, "held by case")
    rounds = Rounds([deleted, held], EvidenceUnavailable("s3"), OSError("disk"), [deleted, held])
    task, stop = RetentionTask(rounds, 0.001), asyncio.Event()  # type: ignore[arg-type]
    running = asyncio.create_task(task.run(stop))
    await until(lambda: task.deleted == 2)
    stop.set()
    await running
    gauges = {name: value for name, _, value, _ in task.gauges()}
    assert gauges["aegis_retention_deleted_total"] == 2
    assert gauges["aegis_retention_failures_total"] == 2


@pytest.mark.parametrize("right", [True, False])
def test_completeness_takes_the_hashes_of_what_is_pruned(pruned_worker: Worker, right: bool) -> None:
    epoch = pruned_worker.epochs[0]
    note, _ = files.checkpoint(epoch)
    root = notes.parse(note or b"").root if right else bytes(32)
    interval = ("2016-01-01T00:00:00.000000Z", "2016-01-02T00:00:00.000000Z")
    log = f"aegis.test/worker-0/{epoch.name}"
    found = Walking(log, iter([(3, bytes(32)), (5, root)]), interval, None, 60).walk(epoch)
    assert (found.size, [gone.entries for gone in found.pruned], found.inside) == (5, [5], 1)
    assert found.contradiction == (-1 if right else 5)
    assert found.first.startswith("2016-01-01")
