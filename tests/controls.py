"""The control log of a scratch deployment: written as the follower does, read and judged from disk.

async with running(worker) as control:
    control.outbox.put("hold", HOLD)
    await control.drained()
events(worker)                                     its entries of the kinds of a control log, in order
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from authz.followers.bell import Bell
from authz.followers.control import ControlLog
from authz.followers.heads import Heads
from authz.followers.own_keys import OwnKeys
from authz.followers.seal import Sealer
from authz.ledger import control, keys
from authz.ledger.checkpoints import CheckpointStore
from authz.ledger.journal import Disk
from authz.ledger.opening import open_ledger
from authz.ledger.outbox import Outbox
from authz.ledger.writer import LedgerWriter, Observed
from tests import ledgers
from tests.unit.ledger import oracle
from tests.wire.serving import until
from tests.workers import Worker

HOLD = {"name": "case", "who": "ana", "why": "court", "action": "lift"}
Entry = dict[str, Any]


class Control:
    """One run of the control task, with the sealer beside it that the follower has."""

    task: asyncio.Task[None]

    def __init__(self, worker: Worker, heads_s: float, disk: Disk | None, **how: Any) -> None:
        self.worker = worker
        root, deployment = worker.root.parent, worker.settings.deployment
        store = worker.settings.path(worker.settings.follower.checkpoint_store)
        self.store, self.bell, self.stop = CheckpointStore(store), Bell(), asyncio.Event()
        self.sealer = Sealer(root, deployment, self.store, OwnKeys.of(worker.settings))
        self.outbox = Outbox(worker.settings.outbox)
        self.heads = Heads(root, deployment, self.store, self.outbox, self.sealer.settled)
        told = worker.settings.model_copy(update={"worker": control.WORKER})

        def opened(on_failure: Callable[[], None]) -> LedgerWriter:
            return open_ledger(told, on_failure=on_failure, observed=Observed(), disk=disk, **how)

        self.log = ControlLog(opened, told.ledger_directory, self.outbox, self.heads, heads_s)

    async def drained(self) -> None:
        """Until nothing waits any more."""
        await until(lambda: self.ring() and self.outbox.count() == 0)

    def ring(self) -> bool:
        self.bell.ring()
        return True

    def close(self) -> None:
        self.sealer.close()
        self.outbox.close()
        self.store.close()


@asynccontextmanager
async def running(
    worker: Worker, *, heads_s: float = 3600, disk: Disk | None = None, **how: Any
) -> AsyncIterator[Control]:
    made = Control(worker, heads_s, disk, **how)
    made.task = asyncio.create_task(made.log.run(made.bell, made.stop))
    try:
        yield made
    finally:
        made.stop.set()
        try:
            await asyncio.wait_for(made.task, 60)
        finally:
            made.close()


def root(worker: Worker) -> Path:
    return worker.root.with_name(control.WORKER)


def history(worker: Worker) -> list[list[Entry]]:
    """Every entry of every epoch of the control log, which the verifier and the oracle find whole."""
    report = ledgers.check(root(worker))
    assert report.verified, report.first_fault
    return oracle.history(root(worker), keys.public_key(ledgers.RECORD_SEED))


def events(worker: Worker) -> list[Entry]:
    """Its events, over all epochs."""
    return [entry for epoch in history(worker) for entry in epoch if entry["kind"] in control.FORMS]
