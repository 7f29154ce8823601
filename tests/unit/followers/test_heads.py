"""What the control log says of worker logs: opened once, how far signed, closed once and why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from authz.errors import EvidenceUnavailable
from authz.followers.heads import Heads
from authz.ledger.journal import FAILED
from tests import ledgers
from tests.controls import Control
from tests.workers import Worker, decision


@pytest.fixture
async def control(worker: Worker) -> Iterator[Control]:
    worker.root.parent.mkdir(parents=True)
    made = Control(worker, 3600, None)
    yield made
    made.close()


def put(control: Control) -> list[tuple[str, int, Any]]:
    """Kind, size and end of what was put since."""
    events = control.outbox.waiting(100)
    if events:
        control.outbox.written(events[-1].number)
    return [(event.kind, event.members["size"], event.members.get("end")) for event in events]


def again(control: Control) -> Heads:
    """Another process, whose sealer has looked at everything."""
    settings = control.worker.settings
    return Heads(
        settings.ledger_directory.parent,
        settings.deployment,
        control.store,
        control.outbox,
        control.sealer.settled,
    )


async def test_a_log_is_opened_with_its_first_checkpoint(worker: Worker, control: Control) -> None:
    async with worker.running() as ledger:
        control.heads.look()
        assert (put(control), control.heads.now()) == ([], [])
        control.sealer.round()
        control.heads.look()
        (event,) = control.outbox.waiting(9)
        opened = ledgers.members(worker.epochs[0])[0]["timestamp"]
        root = control.store.latest(ledger.log)[1].hex()
        assert event.members == {"of": ledger.log, "size": 1, "root": root, "opened": opened}
        assert control.heads.now() == [{"of": ledger.log, "size": 1, "root": root}]


async def test_a_head_is_what_was_signed_last(worker: Worker, control: Control) -> None:
    async with worker.running() as ledger:
        control.sealer.round()
        control.heads.look()
        await ledger.append("decision", decision(1))
        assert [head["size"] for head in control.heads.now()] == [1]
        control.sealer.round()
        assert [head["size"] for head in control.heads.now()] == [2]


async def test_a_log_is_closed_once_its_close_is_sealed(worker: Worker, control: Control) -> None:
    async with worker.running():
        control.sealer.round()
        control.heads.look()
        assert put(control) == [("log_open", 1, None)]
    control.heads.look()
    assert put(control) == []
    control.sealer.round()
    control.heads.look()
    assert (put(control), control.heads.now()) == ([("log_close", 2, "closed")], [])
    control.heads.look()
    assert put(control) == []


async def test_a_log_that_its_worker_left_is_closed_as_such(worker: Worker, control: Control) -> None:
    async with worker.doomed(boot_id=lambda: "one") as ledger:
        await ledger.append("decision", decision(1))
    control.sealer.round()
    control.heads.look()
    assert put(control) == [("log_open", 2, None)]
    async with worker.running(boot_id=lambda: "two"):
        control.heads.look()
        assert put(control) == []  # the sealer may not have read its end yet
        control.sealer.round()
        control.heads.look()
        assert put(control) == [("log_close", 2, "left"), ("log_open", 2, None)]


async def test_a_log_whose_sync_failed_says_so_and_how_far_it_is_signed(
    worker: Worker, control: Control
) -> None:
    async with worker.doomed() as ledger:
        await ledger.append("decision", decision(1))
    (worker.epochs[0] / FAILED).write_text("sync\n")
    async with worker.running():
        control.sealer.round()
        control.heads.look()
    closes = [each for each in put(control) if each[0] == "log_close"]
    assert closes == [("log_close", 0, "failed")]


async def test_another_process_says_nothing_again(worker: Worker, control: Control) -> None:
    for _ in range(3):
        async with worker.running():
            pass
    control.sealer.round()
    control.heads.look()
    assert put(control) == [("log_open", 2, None), ("log_close", 2, "closed")] * 3
    other = again(control)
    other.look()
    assert (put(control), other.now()) == ([], [])


async def test_the_control_log_is_not_spoken_of(worker: Worker, control: Control) -> None:
    for entry in ledgers.write(worker.root.parent, 3).parent.iterdir():
        (worker.root.parent / "control").mkdir()
        os.rename(entry, worker.root.parent / "control" / entry.name)
    control.heads.look()
    assert (put(control), control.heads.now()) == ([], [])


async def test_word_that_cannot_be_put_is_put_later(worker: Worker, control: Control) -> None:
    async with worker.running() as ledger:
        control.sealer.round()
        control.outbox._database.execute("BEGIN IMMEDIATE")
        with pytest.raises(EvidenceUnavailable, match="within a transaction"):
            control.heads.look()
        control.outbox._database.execute("ROLLBACK")
        control.heads.look()
        assert put(control) == [("log_open", 1, None)]
        assert [head["of"] for head in control.heads.now()] == [ledger.log]
