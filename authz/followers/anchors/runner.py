"""Shows every log's newest checkpoint to one anchor, again and again; one task for each anchor.

    something new, and the last one old enough -> put -> receipt on disk -> `anchor` event
                                     unavailable: wait, longer each time
                                     refused or contradicted: this log waits, others go on; said each time

In: Candidates, an Anchor. Out: Receipts, events for the control log. Run by the follower beside everything
else: it only reads what is sealed, so it delays neither a worker nor the sealing. It may be killed at any
time: what was anchored and not noted is anchored again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from authz.errors import EvidenceUnavailable
from authz.followers.anchors.anchor import (
    Anchor,
    Candidate,
    Contradicted,
    Receipt,
    Refused,
    Unavailable,
)
from authz.followers.anchors.directory import compare
from authz.followers.anchors.receipts import Done, Receipts
from authz.followers.seal import owned_up
from authz.telemetry.metrics import Gauge

log = structlog.get_logger(__name__)

FIRST_WAIT_S: Final = 0.5
LONGEST_LOOK_S: Final = 5.0  # between two looks at what there is to anchor
LONGEST_REQUEST_S: Final = 3600.0  # of what they ask us to wait

Sealed = Callable[[], list[Candidate]]
Learn = Callable[[str, int], None]
Record = Callable[[dict[str, Any]], None]
"""Takes the members of an `anchor` event."""


class _Log:
    """One log as this anchor knows it. `done.at` begins with the log's own beginning."""

    def __init__(self, done: Done) -> None:
        self.done, self.size = done, done.size  # anchored, and sealed
        self.final = False  # a later epoch says how far it went, and stands for it
        self.next = 0.0  # Unix time before which nothing is tried
        self.tries = 0  # that were refused since the last success
        self.fault = ""
        self.contradicted = False


class Anchoring:
    """One anchor's task. The numbers are for metrics; only the task writes them."""

    def __init__(
        self,
        anchor: Anchor,
        sealed: Sealed,
        receipts: Receipts,
        record: Record,
        *,
        learn: Learn,
        longest_wait_s: float,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        """`learn` is told of a log and its size here when the anchor knows it otherwise; `clock` is Unix
        time, `random` in [0, 1).
        """
        self.kind = anchor.kind
        self._anchor, self._sealed, self._receipts, self._record = anchor, sealed, receipts, record
        self._learn = learn
        self._longest_wait_s, self._clock, self._random = longest_wait_s, clock, random
        self._logs: dict[str, _Log] = {}
        self._tries = 0  # attempts since it was last there
        self.anchored = self.failures = 0
        self.fault = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, and then once more for what is new, without waiting for anybody."""
        while True:
            last = stop.is_set()
            wait_s = await self._pass(last=last)
            if last:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait_s)

    async def _pass(self, *, last: bool) -> float:
        """Anchor what is due (`last`: what is new); seconds until the next pass. A log for which there is no
        answer keeps none of the others waiting.
        """
        unwell: Exception | None = None
        try:
            for candidate in await asyncio.to_thread(self._sealed):
                known = self._known(candidate)
                if known.size > known.done.size and (last or self._clock() >= known.next):
                    unwell = await self._one(candidate, known) or unwell
        except OSError as error:
            unwell = error
        if unwell is None:
            self._tries, self.fault = 0, ""
            return min(self._anchor.every_s, LONGEST_LOOK_S)
        self._tries += 1
        self.fault = str(unwell)
        asked = unwell.after_s if isinstance(unwell, Unavailable) else 0.0
        return max(min(asked, LONGEST_REQUEST_S), self._pause_s(self._tries))

    def _known(self, candidate: Candidate) -> _Log:
        known = self._logs.get(candidate.log)
        if known is None:
            done = self._receipts.last(candidate.log).get(self.kind) or Done(0, candidate.began)
            known = self._logs[candidate.log] = _Log(done)
            known.next = done.at + self._anchor.every_s if done.size else 0.0
        known.size, known.final = candidate.size, candidate.place.final
        return known

    async def _one(self, candidate: Candidate, known: _Log) -> Exception | None:
        """What may pass by itself, if something kept it from being anchored. Raises IntegrityViolation."""
        at = self._clock()
        try:
            await asyncio.to_thread(self._put, candidate, at)
        except (Unavailable, EvidenceUnavailable, OSError) as error:
            self._failed(str(error), log=candidate.log, tries=self._tries + 1)
            return error
        except (Refused, Contradicted) as error:
            known.tries += 1
            known.fault, known.contradicted = str(error), isinstance(error, Contradicted)
            known.next = at + self._pause_s(known.tries)
            self._failed(known.fault, log=candidate.log, tries=known.tries, contradicted=known.contradicted)
            return await self._look_into(candidate, known) if known.contradicted else None
        self.anchored += 1
        known.done, known.next = Done(candidate.size, at), at + self._anchor.every_s
        known.tries, known.fault, known.contradicted = 0, "", False
        return None

    def _put(self, candidate: Candidate, at: float) -> None:
        """On a thread. One size is shown in one form only: the first that was."""
        shown = self._receipts.shown(candidate.log, candidate.size)
        if shown is not None:
            compare(shown, candidate, "a receipt of before")
            candidate = Candidate(candidate.place, candidate.checkpoint, shown)
        receipt = self._anchor.put(candidate)
        kept = self._receipts.keep(candidate, receipt)
        self._record(event(self.kind, candidate, receipt, kept.name))
        self._receipts.note(candidate.log, self.kind, Done(candidate.size, at))

    async def _look_into(self, candidate: Candidate, known: _Log) -> Exception | None:
        """What it knows otherwise, if that can be had. An epoch that a later one has given up, by its `gap`,
        is never anchored again.
        """
        try:
            if candidate.place.final and await asyncio.to_thread(owned_up, candidate.place):
                known.done = Done(candidate.size, known.done.at)
                known.fault, known.contradicted = "", False
            else:
                await asyncio.to_thread(self._learn, candidate.log, candidate.size)
        except (EvidenceUnavailable, OSError) as error:
            return error
        return None

    def _failed(self, error: str, **more: Any) -> None:
        self.failures += 1
        log.warning("anchor_failed", anchor=self.kind, error=error, **more)

    def _pause_s(self, tries: int) -> float:
        """Between half and all of a span that doubles."""
        span: float = min(FIRST_WAIT_S * 2 ** min(tries - 1, 20), self._longest_wait_s)
        return span * (0.5 + self._random() / 2)

    def exposures(self) -> dict[str, float]:
        """For each log that goes on, seconds since the last checkpoint that is anchored here was read; 0 if
        nothing is newer.
        """
        now = self._clock()
        return {
            name: max(0.0, now - known.done.at) if known.size > known.done.size else 0.0
            for name, known in list(self._logs.items())
            if not known.final
        }

    def gauges(self) -> Iterator[Gauge]:
        label = {"anchor": self.kind}
        lag_s = max(self.exposures().values(), default=0.0)
        faults = [known for known in list(self._logs.values()) if known.fault]
        contradicted = sum(known.contradicted for known in faults)
        refused = sum(not known.contradicted and not known.final for known in faults)
        yield "aegis_anchor_lag_seconds", "Age of the oldest thing not anchored there.", lag_s, label
        yield "aegis_anchor_every_seconds", "Time between two of a log, as set.", self._anchor.every_s, label
        yield "aegis_anchor_anchored_total", "Checkpoints that were taken.", self.anchored, label
        yield "aegis_anchor_failures_total", "Attempts that failed.", self.failures, label
        yield "aegis_anchor_refused_logs", "Logs that it does not take as things are.", refused, label
        yield "aegis_anchor_contradicted_logs", "Logs it knows otherwise.", contradicted, label


def event(kind: str, candidate: Candidate, receipt: Receipt, kept: str) -> dict[str, Any]:
    """The members of an `anchor` entry (`ledger/control.py`). Without a place outside, `kept` is the name of
    the receipt below `<state>/anchors/<log>/`.
    """
    artefact = receipt.artefact or candidate.note
    members: dict[str, Any] = {
        "anchor": kind,
        "name": receipt.name[:255],
        "of": candidate.log,
        "place": receipt.where or kept,
        "root": candidate.checkpoint.root.hex(),
        "sha256": hashlib.sha256(artefact).hexdigest(),
        "size": candidate.size,
    }
    if receipt.dated:
        members["dated"] = _text(receipt.dated)
    if receipt.version_id:
        members |= {"version_id": receipt.version_id, "retain_until": _text(receipt.retain_until)}
    return members


def _text(at: float) -> str:
    """RFC 3339 in UTC with six decimals."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
