"""What may leave of each epoch: what is sealed, and of older ones what the next one says it held."""

from __future__ import annotations

import pytest

from authz.errors import IntegrityViolation
from tests import ledgers
from tests.exporting import durable
from tests.workers import Worker, decision


async def filled(worker: Worker, decisions: int = 3) -> None:
    async with worker.running() as ledger:
        for number in range(decisions):
            await ledger.append("decision", decision(number))


async def test_nothing_leaves_before_it_is_sealed(worker: Worker) -> None:
    await filled(worker)
    (before,) = durable(worker).extents()
    assert (before.size, before.whole) == (0, False)
    worker.seal()
    (after,) = durable(worker).extents()
    assert (after.size, after.whole) == (5, False)


async def test_an_epoch_that_another_one_continues_is_whole_without_a_checkpoint(worker: Worker) -> None:
    await filled(worker)
    await filled(worker, 1)
    old, new = durable(worker).extents()
    assert (old.size, old.whole) == (5, True)
    assert (new.size, new.whole) == (0, False)


async def test_of_an_epoch_that_was_cut_short_the_good_entries_leave(worker: Worker) -> None:
    async with worker.doomed() as ledger:
        await ledger.append("decision", decision(1))
        worker.seal()
        await ledger.append("decision", decision(2))
    async with worker.running(boot_id=lambda: "another boot"):
        pass
    old, _ = durable(worker).extents()
    assert (old.size, old.whole) == (3, True)


async def test_while_a_new_epoch_says_nothing_yet_the_old_one_may_still_grow(worker: Worker) -> None:
    await filled(worker)
    worker.seal()
    (worker.root / "20990101T000000Z-0000000000000000" / "entries").mkdir(parents=True)
    worker.judged = True
    old, new = durable(worker).extents()
    assert (old.size, old.whole) == (5, False)
    assert (new.size, new.whole) == (0, False)


async def test_a_checkpoint_by_another_key_lets_nothing_leave(worker: Worker) -> None:
    await filled(worker)
    epoch = worker.epochs[0]
    ledgers.seal(epoch, f"{ledgers.WORKER}/{epoch.name}", seed=ledgers.OTHER_SEED)
    worker.judged = True
    with pytest.raises(IntegrityViolation, match="signed by this log key"):
        durable(worker).extents()
