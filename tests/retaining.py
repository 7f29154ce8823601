"""Ledgers of years ago, and retention over them as the follower runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from authz.config_retention import Retention
from authz.followers.durable import Durable
from authz.followers.own_keys import OwnKeys
from authz.followers.retention.archived import Archive
from authz.followers.retention.holds import Holds
from authz.followers.retention.prune import Did, Pruning
from authz.ledger.disclosures.vault import vault_of
from authz.ledger.outbox import Outbox
from tests import disclosed
from tests.workers import Worker

THEN = datetime(2016, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)


def clock(start: datetime) -> Callable[[], int]:
    """Nanoseconds that begin at `start` and go on by a millisecond each time."""
    ticks: Iterator[int] = count(int(start.timestamp() * 1e9), 1_000_000)
    return lambda: next(ticks)


async def aged(worker: Worker, epochs: int = 4, decisions: int = 3, **members: Any) -> None:
    """Epochs of `open`, decisions with disclosures by a, b and c, and `close`, a day apart, all sealed."""
    disclosed.keeps(worker)
    for number in range(epochs):
        async with worker.running(clock_ns=clock(THEN + timedelta(days=number))) as ledger:
            made = (
                disclosed.append(
                    ledger, number * decisions + each, {"facts": each}, agent_id="abc"[each % 3], **members
                )
                for each in range(decisions)
            )
            await asyncio.gather(*made)
    worker.seal()


class Retaining:
    """Retention over a worker's ledgers, at a time of the test's choice."""

    def __init__(
        self, worker: Worker, outbox: Outbox, archive: Archive | None = None, **settings: Any
    ) -> None:
        self.worker, self.outbox, self.now = worker, outbox, THEN
        self.holds = Holds(worker.state / "holds", lambda event: outbox.put("hold", event))
        self.steps: Path = worker.state / "retention"
        settings = {"default_days": 365, "grace_days": 7} | settings
        durable = Durable(worker.root.parent, worker.settings.deployment, OwnKeys.of(worker.settings))
        self.pruning = Pruning(
            Retention(**settings),
            self.steps,
            durable.extents,
            self.holds.covering,
            outbox,
            vault=vault_of(worker.settings),
            archive=archive,
            now=lambda: self.now,
        )

    def round(self, after: timedelta) -> list[Did]:
        """At `after` since the first epoch began."""
        self.now = THEN + after
        return self.pruning.round()

    def what(self, after: timedelta) -> list[str]:
        return [did.what for did in self.round(after)]
