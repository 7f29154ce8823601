"""The control log: what is put into the outbox becomes an entry, in order and once, whatever fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from authz.errors import IntegrityViolation, LedgerLocked
from authz.followers import control as module
from authz.ledger.outbox import Outbox
from tests import controls, ledgers
from tests.controls import HOLD, events, history, running
from tests.unit.ledger.disks import FailingDisk
from tests.unit.ledger.samples import EVENTS
from tests.wire.serving import until
from tests.workers import Worker, decision

PLACE = "kind log seq previous_entry_hash timestamp signer_id attestation_signature".split()


def said(entry: controls.Entry) -> tuple[str, controls.Entry]:
    own = {*PLACE, "event_id", "event_time"}
    return entry["kind"], {name: value for name, value in entry.items() if name not in own}


def names(worker: Worker) -> list[str]:
    return [entry["name"] for entry in events(worker) if entry["kind"] == "hold"]


def put(outbox: Outbox, *numbers: int) -> list[str]:
    for number in numbers:
        outbox.put("hold", HOLD | {"name": str(number)})
    return [str(number) for number in numbers]


async def test_every_event_becomes_an_entry_in_the_order_in_which_it_was_put(worker: Worker) -> None:
    async with running(worker) as control:
        for kind, members in EVENTS:
            control.outbox.put(kind, members)
        waiting = control.outbox.waiting(100)
        await control.drained()
    assert [said(entry) for entry in events(worker)] == EVENTS
    ids = [(entry["event_id"], entry["event_time"]) for entry in events(worker)]
    assert ids == [(event.event_id, event.at) for event in waiting]


async def test_it_is_a_log_like_any_other_opened_closed_and_continued(worker: Worker) -> None:
    for number in range(2):
        async with running(worker) as control:
            put(control.outbox, number)
            await control.drained()
    kinds = [[entry["kind"] for entry in epoch] for epoch in history(worker)]
    assert kinds == [["open", "hold", "close"], ["open", "hold", "close"]]
    assert history(worker)[1][0]["previous_log"] == history(worker)[0][0]["log"]


async def test_what_was_put_while_nobody_wrote_is_written_later(worker: Worker) -> None:
    worker.root.parent.mkdir(parents=True)
    with Outbox(worker.settings.outbox) as outbox:
        wanted = put(outbox, *range(600))  # more than two batches
    async with running(worker) as control:
        await control.drained()
    assert names(worker) == wanted


async def test_events_that_an_earlier_process_wrote_are_not_written_again(
    worker: Worker, tmp_path: Path
) -> None:
    """Killed after the sync, before the outbox forgot them: as if an older outbox was put back."""
    async with running(worker) as control:
        first = put(control.outbox, 1, 2, 3)
        shutil.copy(worker.settings.outbox, tmp_path / "older")
        await control.drained()
        shutil.copy(tmp_path / "older", tmp_path / "again")
    shutil.copy(tmp_path / "older", worker.settings.outbox)
    async with running(worker) as control:
        second = put(control.outbox, 4)
        await control.drained()
    assert names(worker) == first + second


async def test_a_disk_that_takes_no_more_is_tried_again_and_nothing_is_lost(worker: Worker) -> None:
    disk = FailingDisk()
    async with running(worker, disk=disk) as control:
        wanted = put(control.outbox, 1)
        await control.drained()
        disk.broken = {"write"}
        wanted += put(control.outbox, 2, 3)
        await until(lambda: control.ring() and "control log: write" in control.log.fault)
        assert control.outbox.count() == 2
        disk.broken = set()
        await control.drained()
        await until(lambda: control.ring() and not control.log.fault)
    assert names(worker) == wanted
    assert len(history(worker)) == 1


async def test_after_a_failed_sync_a_new_epoch_begins_and_nothing_is_written_twice(worker: Worker) -> None:
    disk = FailingDisk()
    async with running(worker, disk=disk) as control:
        wanted = put(control.outbox, 1)
        await control.drained()
        disk.broken = {"sync"}
        wanted += put(control.outbox, 2, 3)
        await until(lambda: control.ring() and "sync" in control.log.fault)
        disk.broken = set()
        wanted += put(control.outbox, 4)
        await control.drained()
    first, second = history(worker)
    assert [entry["kind"] for entry in second][:2] == ["open", "gap"]
    assert second[1]["why"] == "a sync failed"
    assert names(worker) == wanted
    assert first[-1]["kind"] != "close"


async def test_an_event_that_somebody_changed_in_the_outbox_is_named_and_holds_up_the_rest(
    worker: Worker,
) -> None:
    async with running(worker) as control:
        await control.drained()
        put(control.outbox, 1, 2)
        control.outbox._database.execute('UPDATE events SET members = \'{"name":"x"}\' WHERE number = 1')
        await until(lambda: control.ring() and "event 1 can be no entry: " in control.log.fault)
        assert control.outbox.count() == 2
        control.outbox.written(1)
        await control.drained()
    assert names(worker) == ["2"]


async def test_heads_of_open_logs_are_said_again_and_again(worker: Worker) -> None:
    async with running(worker, heads_s=0.01) as control, worker.running() as ledger:
        for number in range(3):
            await ledger.append("decision", decision(number))
            control.sealer.round()
            await until(lambda: control.ring() and _head(worker) == ledger.seq)
        control.sealer.round()
    heads = [entry for entry in events(worker) if entry["kind"] == "log_head"]
    assert events(worker)[0]["kind"] == "log_open"
    assert {entry["of"] for entry in heads} == {ledger.log}
    sizes = [entry["size"] for entry in heads]
    assert sizes == sorted(sizes)
    assert "event_id" not in heads[0]


def _head(worker: Worker) -> int:
    epochs = controls.oracle.epochs(controls.root(worker)) if controls.root(worker).is_dir() else []
    members = ledgers.members(epochs[-1]) if epochs else []
    return max((entry["size"] for entry in members if entry["kind"] == "log_head"), default=0)


async def test_the_last_heads_are_said_when_it_stops(worker: Worker) -> None:
    async with worker.running() as ledger:
        await ledger.append("decision", decision(1))
        async with running(worker) as control:
            await control.drained()
            await ledger.append("decision", decision(2))
            control.sealer.round()
        assert _head(worker) == 3


async def test_a_second_writer_is_refused(worker: Worker) -> None:
    async with running(worker) as control:
        await until(lambda: control.ring() and not control.log.fault)
        with pytest.raises(LedgerLocked, match="control: another process writes this ledger"):
            async with running(worker) as other:
                await until(lambda: other.task.done())


async def test_damage_below_a_checkpoint_ends_it_until_an_operator_has_said_so(worker: Worker) -> None:
    async with running(worker) as control:
        put(control.outbox, 1, 2)
        await control.drained()
        control.sealer.round()
    (epoch,) = controls.oracle.epochs(controls.root(worker))
    ledgers.edit(epoch, lambda entries: entries.pop(1))
    with pytest.raises(IntegrityViolation, match="--accept-damage"):
        async with running(worker) as control:
            await until(lambda: control.task.done())
    async with running(worker, accept_damage=True) as control:
        put(control.outbox, 3)
        await control.drained()
    newest = ledgers.members(controls.oracle.epochs(controls.root(worker))[-1])
    assert [entry["kind"] for entry in newest] == ["open", "gap", "hold", "close"]


async def test_entries_long_before_the_oldest_event_are_not_searched(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(worker) as control:
        put(control.outbox, *range(50))
        await control.drained()
        put(control.outbox, 50)
        monkeypatch.setattr(module, "CLOCK_MARGIN", -module.CLOCK_MARGIN)
        assert control.log._written_before() == set()
        monkeypatch.setattr(module, "CLOCK_MARGIN", -module.CLOCK_MARGIN)
        assert len(control.log._written_before()) >= 50
