"""Which decisions wait for their outcome, and what came: counts for metrics.

In: decisions as they are made (`pipeline.Observer`) and outcomes as they are recorded, both on the event
loop. Out: counts that scrapes read. Memory is bounded: of more than MAX_PENDING decisions the oldest counts
as without outcome. This is a live view of one worker since its start; `aegis outcomes` joins what is on disk,
of all workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from authz.pipeline import Decided, Observer
from authz.telemetry.metrics import Gauge

MAX_PENDING: Final = 65_536  # decisions that wait for their outcome; about 15 MB

IN_TIME: Final = "in_time"  # of a decision of this log, within the bound
LATE: Final = "late"  # of one that was counted as without already, or that had an outcome before
ELSEWHERE: Final = "elsewhere"  # of a decision in another log: another worker's, or before the last start
NONE: Final = "none"  # of a request that Envoy knows no decision of
JOINED: Final = (IN_TIME, LATE, ELSEWHERE, NONE)
LOST: Final = ("queue_full", "malformed", "ledger_unavailable", "internal_error")


class OutcomeCounts:
    """`after_s`: the bound after which a decision counts as without outcome."""

    def __init__(
        self, decided: Observer, after_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.missing = 0  # decisions whose outcome did not come in time
        self.breaches = 0  # forwarded without a decision that allows it
        self.duplicates = 0
        # All from the start: `increase()` does not see a series that begins with its first count.
        self.lost = dict.fromkeys(LOST, 0)  # outcomes that came and are not in the log, by reason
        self.arrived = {(joined, forwarded): 0 for joined in JOINED for forwarded in (False, True)}
        self._decided, self._after_s, self._monotonic = decided, after_s, monotonic
        self._pending: dict[str, float] = {}  # decision id -> monotonic seconds, oldest first

    @property
    def pending(self) -> int:
        """Decisions that may still get their outcome in time."""
        return len(self._pending)

    def decided(self, decision: Decided) -> None:
        """The pipeline's observer: one more waits for its outcome."""
        if len(self._pending) >= MAX_PENDING:
            del self._pending[next(iter(self._pending))]
            self.missing += 1
        self._pending[decision.record["decision_id"]] = self._monotonic()
        self._decided.decided(decision)

    def unheard(self, decision: Decided) -> None:
        """Envoy answered without it, and names it in no outcome."""
        self._decided.unheard(decision)

    def arrive(self, decision_id: str, *, ours: bool, allowed: bool, forwarded: bool) -> None:
        """An outcome was recorded. `ours`: the record it names is in this worker's log; "" names none."""
        if not decision_id:
            joined = NONE
        elif self._pending.pop(decision_id, None) is not None:
            joined = IN_TIME
        else:
            joined = LATE if ours else ELSEWHERE
        self.arrived[joined, forwarded] += 1
        if forwarded and not allowed:
            self.breaches += 1

    def lose(self, reason: str, count: int) -> None:
        """Count outcomes that came and are not recorded; `reason` is one of LOST."""
        self.lost[reason] += count

    def expire(self) -> None:
        """Give up on what waits for longer than the bound. Called a few times a second."""
        before = self._monotonic() - self._after_s
        while self._pending:
            oldest = next(iter(self._pending))
            if self._pending[oldest] > before:
                return
            del self._pending[oldest]
            self.missing += 1

    def gauges(self, queued: int, streams: int, not_written: int) -> Iterator[Gauge]:
        """For a scrape, from its own thread: what came, what did not, and what should not have gone out."""
        text = "Outcomes recorded, by the decision they belong to."
        for (joined, forwarded), count in self.arrived.items():
            labels = {"joined": joined, "forwarded": str(forwarded).lower()}
            yield "aegis_outcomes_total", text, count, labels
        text = "Decisions whose outcome did not come in time."
        yield "aegis_outcomes_missing_total", text, self.missing, {}
        yield "aegis_outcomes_pending", "Decisions whose outcome may still come in time.", self.pending, {}
        text = "Requests that Envoy forwarded without a decision that allows it."
        yield "aegis_outcomes_forwarded_without_allow_total", text, self.breaches, {}
        text = "Outcomes that came and are not recorded."
        for reason, lost in [*self.lost.items(), ("not_written", not_written)]:
            yield "aegis_outcomes_lost_total", text, lost, {"reason": reason}
        yield "aegis_outcomes_duplicates_total", "Outcomes that came again.", self.duplicates, {}
        yield "aegis_outcomes_queued", "Outcomes that wait to be recorded.", queued, {}
        yield "aegis_outcomes_streams", "Streams that Envoy keeps open.", streams, {}
