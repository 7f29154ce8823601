"""Judges a candidate policy version by recorded facts as they come, in an OPA of its own.

    sealed decisions -> facts that were kept with them -> candidate -> report, gauges

In: the settings, what is durable. Out: `candidate.json`, metrics. Run by the follower on a thread of its
own, never on the request path; the candidate's OPA has low priority. It decides nothing; whatever is wrong
with it is said and tried again while the other tasks go on. It begins at the end of what is there then:
for what was before there is `aegis policy candidate`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import structlog

from authz import canonical
from authz.config import Settings
from authz.errors import AegisError
from authz.followers import reading
from authz.followers.bundles import copies_of
from authz.followers.durable import Durable, Extent
from authz.followers.durable_files import replace
from authz.followers.reading import Position
from authz.ledger import control
from authz.ledger.disclosures.reader import Added
from authz.ledger.disclosures.vault import Vault, vault_of
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name
from authz.ledger.outbox import Outbox
from authz.replay import access
from authz.replay import version as versions
from authz.replay.changes import Changes
from authz.replay.isolated import Limits
from authz.replay.judges import Judges
from authz.replay.recorded import Recorded, of_entry
from authz.replay.replaying import replay
from authz.replay.version import Version
from authz.telemetry.metrics import Gauge

log = structlog.get_logger(__name__)

BATCH_ENTRIES: Final = 2000
BATCH_BYTES: Final = 8 << 20
NICE: Final = 10  # whoever decides goes before it
PATIENCE_S: Final = 30.0  # with one question: at this priority it may have to wait


class CandidateTask:
    """Rounds every `every_s` until `stop`. The numbers are for metrics."""

    def __init__(self, settings: Settings, durable: Durable) -> None:
        self._settings, self._durable = settings, durable
        self._wanted = settings.follower.candidate
        self._report = settings.path(self._wanted.report)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="candidate")
        self._since = time.time()
        self._judges: Judges | None = None
        self._version: Version | None = None
        self._at: dict[str, Position] = {}  # by log
        self._seen: dict[
            str, int
        ] = {}  # sizes at the last round: the disclosures of those entries are written
        self._begun = False  # logs that are new later are judged from their beginning
        self._added: dict[str, Added] = {}
        self.changes = Changes()
        self.failures = self.lag = 0
        self.fault = ""

    async def run(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        try:
            while not stop.is_set():
                await loop.run_in_executor(self._thread, self._attempt)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._wanted.every_s)
        finally:
            await loop.run_in_executor(self._thread, self._close)
            self._thread.shutdown()

    def _attempt(self) -> None:
        try:
            self._round()
        except (AegisError, OSError) as error:
            self.failures += 1
            if self.fault != str(error):
                log.error("candidate_failed", version=self._wanted.version, error=str(error))  # noqa: TRY400
            self.fault = str(error)
            self._close()
        else:
            self.fault = ""

    def _round(self) -> None:
        """What was sealed since the last round, up to what was there then."""
        if self._judges is None:
            self._open()
        elif self._settings.follower.bundle_s3.url:
            copies_of(self._settings)
        assert self._judges
        self._judges.look_again()
        extents = [each for each in self._durable.extents() if each.worker != control.WORKER]
        vault = self._vault()
        with Outbox(self._settings.outbox) as outbox:
            for extent in extents:
                while decisions := self._next(extent, vault):
                    why = f"candidate {self._wanted.version} is judged"
                    self._judge(access.said(decisions, outbox, why))
        self._seen, self._begun = {extent.log: extent.size for extent in extents}, True
        self.lag = sum(size - self._at[log].size for log, size in self._seen.items())
        self._write()

    def _judge(self, decisions: Iterator[Recorded]) -> None:
        assert self._judges
        for each in replay(decisions, self._judges, self._version):
            self.changes.add(each)

    def _next(self, extent: Extent, vault: Vault | None) -> list[Recorded]:
        """The next decisions of a log; none if there are no more."""
        position = self._at.get(extent.log)
        if position is None:
            position = reading.locate(extent.directory, 0 if self._begun else extent.size)
            self._at[extent.log] = position
        upto = min(extent.size, self._seen.get(extent.log, 0))
        while position.size < upto:
            taken = reading.take(
                extent.directory, extent.log, position, upto, entries=BATCH_ENTRIES, size=BATCH_BYTES
            )
            added = self._added.setdefault(extent.log, Added(extent.directory, extent.log, vault))
            lines = added.of({each.seq for each in taken if each.members.get("kind") == "decision"})
            position = self._at[extent.log] = taken[-1].after
            found = [
                of_entry(
                    each.members,
                    extent.directory / "entries" / segment_name(each.seq),
                    each.seq % SEGMENT_ENTRIES + 1,
                    lines.get(each.seq, []),
                )
                for each in taken
                if each.members.get("kind") == "decision"
            ]
            if found:
                return found
        return []

    def _open(self) -> None:
        settings = self._settings
        bundles = copies_of(settings)
        self._version = versions.named(bundles, self._wanted.version)
        compat, limits = bool(settings.policy.compat), Limits(nice=NICE, question_s=PATIENCE_S)
        self._judges = Judges(bundles, settings.policy.entry_point, compat=compat, limits=limits)
        self._judges.open(self._version)

    def _close(self) -> None:
        if self._judges is not None:
            self._judges.__exit__()
            self._judges = None

    def _vault(self) -> Vault | None:
        there = self._settings.path(self._settings.disclosures.key).exists()
        return vault_of(self._settings) if there else None

    def _write(self) -> None:
        assert self._version
        said = {"candidate": self._version.label, "since": int(self._since)} | self.changes.as_object()
        replace(self._report, canonical.encode(said) + b"\n")

    def gauges(self) -> Iterator[Gauge]:
        name = {"version": self._wanted.version}
        counts = self.changes
        left_out = sum(counts.left_out.values())
        yield "aegis_candidate_decisions_total", "Decisions put to the candidate.", counts.replayed, name
        yield "aegis_candidate_turned_total", "Of these, would be decided otherwise.", counts.turned, name
        yield "aegis_candidate_reasoned_total", "Of these, for another reason.", counts.reasoned, name
        yield "aegis_candidate_not_replayable_total", "Decisions not put to it.", left_out, name
        yield "aegis_candidate_lag_entries", "Sealed entries that are not looked at yet.", self.lag, name
        yield "aegis_candidate_failures_total", "Rounds that failed.", self.failures, name
        yield "aegis_candidate_failed", "1 while it cannot be judged.", float(bool(self.fault)), name
