"""Segments go in two phases, said both times; what is held, young or needed stays; crashes hurt nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from authz.followers.retention import prune as module
from authz.followers.retention.holds import Hold
from authz.ledger import files, pruned
from authz.ledger.disclosures import place
from authz.ledger.outbox import Outbox
from tests import disclosed, ledgers, retaining
from tests.retaining import YEAR, Retaining
from tests.workers import Worker

GRACE = timedelta(days=7)
LATE = YEAR + timedelta(days=30)  # after the first epochs, every one may go


@pytest.fixture
def outbox(worker: Worker) -> Iterator[Outbox]:
    with Outbox(worker.settings.outbox) as made:
        yield made


@pytest.fixture
async def retention(worker: Worker, outbox: Outbox) -> Retaining:
    """Four epochs, of which the two oldest may be pruned."""
    await retaining.aged(worker)
    worker.judged = True
    return Retaining(worker, outbox)


def drain(outbox: Outbox) -> list[dict[str, Any]]:
    """What the control task does: take them all."""
    events = outbox.waiting(1000)
    outbox.written(events[-1].number if events else 0)
    return [event.members for event in events]


def gone(worker: Worker) -> list[int]:
    """The epochs, by number, whose only segment is pruned."""
    return [number for number, epoch in enumerate(worker.epochs) if files.segments(epoch).pruned]


def test_it_is_planned_said_deleted_and_said(retention: Retaining, outbox: Outbox) -> None:
    due = "planned, due 2017-02-06T00:00:00.000000Z"
    assert retention.what(LATE) == [due, due]
    assert [event["action"] for event in drain(outbox)] == ["plan", "plan"]
    assert retention.what(LATE + GRACE / 2) == [due, due]
    assert retention.what(LATE + GRACE) == ["announced", "announced"]
    assert retention.what(LATE + GRACE) == ["announced; the control log has not got it yet"] * 2
    assert gone(retention.worker) == []
    events = drain(outbox)
    assert [(event["action"], event["entries"], event["class"]) for event in events] == [
        ("delete", 5, "default")
    ] * 2
    assert retention.what(LATE + GRACE) == ["deleted", "deleted"]
    assert gone(retention.worker) == [0, 1]
    assert retention.what(LATE + GRACE) == []


def prune(retention: Retaining, outbox: Outbox) -> None:
    """All the rounds that it takes."""
    for after in (LATE, LATE + GRACE, LATE + GRACE):
        retention.round(after)
        drain(outbox)


def test_disclosures_go_with_their_keys(retention: Retaining, outbox: Outbox) -> None:
    prune(retention, outbox)
    vault, (first, *_, last) = disclosed.vault(retention.worker), retention.worker.epochs
    assert (list(vault.stored(first)), place.numbers(first)) == ([], [])
    assert len(list(vault.stored(last))) == 1


def test_what_is_young_stays_and_is_hardly_read(retention: Retaining) -> None:
    assert retention.round(YEAR - timedelta(days=1)) == []
    assert not retention.steps.exists()


async def test_by_obligation_it_stays_longer(worker: Worker, outbox: Outbox) -> None:
    await retaining.aged(worker, obligations={"retention_days": 1000})
    worker.judged = True
    retention = Retaining(worker, outbox)
    assert retention.round(LATE) == []
    assert len(retention.round(timedelta(days=1030))) == 2


def test_settings_that_keep_longer_take_a_plan_back(retention: Retaining, outbox: Outbox) -> None:
    retention.round(LATE)
    longer = Retaining(retention.worker, outbox, default_days=2000)
    assert longer.what(LATE + GRACE) == []
    assert gone(retention.worker) == []


def test_a_hold_stops_it_in_every_phase(retention: Retaining, outbox: Outbox) -> None:
    case = Hold("case", "ana", "court", agent_id="a")
    for after in (LATE, LATE + GRACE, LATE + GRACE):
        retention.holds.add(case)
        assert retention.what(after) == ["held by case"] * 2
        drain(outbox)
        retention.holds.release("case", "ana", "over")
        retention.round(after)
    assert gone(retention.worker) == []


def test_a_hold_on_one_log_leaves_the_other_go(retention: Retaining, outbox: Outbox) -> None:
    log = f"aegis.test/worker-0/{retention.worker.epochs[0].name}"
    retention.holds.add(Hold("case", "ana", "court", logs=(log,)))
    prune(retention, outbox)
    assert gone(retention.worker) == [1]


async def test_what_a_start_reads_stays(retention: Retaining, outbox: Outbox) -> None:
    prune(retention, outbox)
    assert gone(retention.worker) == [0, 1]
    async with retention.worker.running() as ledger:
        await ledger.append("decision", {"decision_id": "x"} | decision())
    retention.worker.seal()


def decision() -> dict[str, Any]:
    made = ledgers.decision(99)
    del made["kind"]
    return made


class Killed(BaseException):
    pass


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("call", ["_store", "keep", "destroy", "put"])
def test_killed_anywhere_the_next_rounds_finish_it(
    retention: Retaining, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    owner: Any = {"_store": retention.pruning, "keep": pruned, "destroy": retention.pruning._vault}.get(
        call, outbox
    )
    real, left = getattr(owner, call), [number]

    def dying(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] == -1:
            raise Killed
        return real(*arguments, **named)

    monkeypatch.setattr(owner, call, dying)
    said = []
    for after in (LATE, LATE, *(LATE + turn * GRACE for turn in (1, 1, 2, 2, 3))):
        with suppress(Killed):
            retention.round(after)
        said += drain(outbox)
    assert gone(retention.worker) == [0, 1]
    deleted = [event["of"] for event in said if event["action"] == "delete"]
    assert len(deleted) == len(set(deleted)) == 2
    assert list(retention.steps.rglob("*.json")) == []


def test_what_is_not_what_it_was_is_deleted_by_nobody(retention: Retaining, outbox: Outbox) -> None:
    retention.round(LATE)
    retention.round(LATE + GRACE)
    drain(outbox)
    segment = retention.worker.epochs[0] / "entries" / "00000000.jsonl"
    segment.write_bytes(segment.read_bytes() + b"{}\n")
    with pytest.raises(module.IntegrityViolation, match="not 5 whole lines"):
        retention.round(LATE + GRACE)
    assert segment.exists()
