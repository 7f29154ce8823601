"""Builds one worker out of its parts, starts them in order and stops them in reverse.

One gRPC server, one event loop, one ledger. Everything the parts need is given to them here: time, keys,
addresses. Called by `aegis serve`; returns the process's exit status.

    keys -> ledger (lock, recovery) -> policy -> status -> outcomes -> Check server       stopped in reverse
"""

from __future__ import annotations

import asyncio
import gc
import math
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
import uuid_utils

from authz import __version__
from authz.config import Settings
from authz.controls.redaction import Redaction
from authz.explanation import Explanation
from authz.identity.jwks import open_keys
from authz.identity.jwt import Identifier
from authz.identity.sources import SourceTags
from authz.ledger import keys as key_files
from authz.ledger.activations import standings
from authz.ledger.kernel_clock import kernel_clock
from authz.ledger.opening import Outside, open_ledger
from authz.ledger.scrub import Scrub
from authz.ledger.writer import LedgerWriter, Observed
from authz.pipeline import Authorizer, Observer
from authz.policy.activation import ActivationWatch, open_watch
from authz.policy.stage import PolicyStage, open_stage
from authz.shadowing import Shadowing
from authz.telemetry.http import StatusServer
from authz.telemetry.metrics import Gauge, WorkerMetrics
from authz.telemetry.observer import DecisionObserver
from authz.telemetry.outcomes import OutcomeCounts
from authz.telemetry.spans import Spans
from authz.wire.bursts import Bursts
from authz.wire.outcomes import Outcomes, OutcomeServer
from authz.wire.server import CheckServer
from authz.wire.service import Service

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 0.25
# A burst of decisions makes thousands of objects that end with it and no cycles: Python's 700 would look at
# them all again and again (7 us of 100 a decision).
GC_THRESHOLDS: Final = (20_000, 20, 50)
EXIT_OK: Final = 0
EXIT_LEDGER_FAILED: Final = 3  # restart: the next start recovers from disk


async def serve(settings: Settings, *, file: Path | None = None, accept_damage: bool = False) -> int:
    """Run a worker until SIGTERM or SIGINT, or until its ledger fails. `file`, where the settings come from,
    is followed.

    Raises AegisError for whatever prevents the start.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    worker = Worker(settings, stopping, file)
    async with AsyncExitStack() as stack:
        await worker.start(stack, accept_damage)
        gc.collect()
        gc.freeze()  # what lives from here on is requests: nothing old needs to be looked at again
        gc.set_threshold(*GC_THRESHOLDS)
        log.info("worker_started", log=worker.ledger.log, address=settings.listen.check, version=__version__)
        await worker.watch()
        log.info("worker_stopping", log=worker.ledger.log, ledger_failed=worker.failed)
    return EXIT_LEDGER_FAILED if worker.failed else EXIT_OK


class Worker:
    """The parts of one running worker, and what can be said about them from outside."""

    ledger: LedgerWriter
    policy: PolicyStage
    activation: ActivationWatch
    service: Service
    identifier: Identifier
    server: CheckServer
    outcomes: Outcomes | None = None  # where they are listened to
    listener: OutcomeServer | None = None

    def __init__(self, settings: Settings, stopping: asyncio.Event, file: Path | None = None) -> None:
        self.settings = settings
        self.shadowing = Shadowing(settings, file, lambda: self.policy.version)
        self.metrics = WorkerMetrics()
        self.counts: OutcomeCounts | None = None
        self.failed = False
        self.scrub = Scrub(on_damage=self._ledger_failed)
        self._listening = False
        self._stopping = stopping

    async def start(self, stack: AsyncExitStack, accept_damage: bool) -> None:
        """Start everything in order; `stack` stops it in reverse."""
        settings = self.settings
        spans = self._spans()
        if spans is not None:
            stack.callback(spans.close)
        keys = open_keys(settings.identity, settings.state, time.time)
        stack.callback(keys.close)
        self.identifier = Identifier(
            settings.identity,
            keys=keys,
            protected=settings.protected,
            wall=time.time,
            same=lambda: self.policy.identities,
        )
        self.ledger = open_ledger(
            settings,
            on_failure=self._ledger_failed,
            observed=_Observed(self.metrics),
            accept_damage=accept_damage,
            outside=_outside(settings),
            leave=self.scrub.leave,
        )
        stack.push_async_callback(self.ledger.close)
        named, shadow = standings(settings), self.shadowing.shadow
        self.policy = open_stage(settings, activated=shadow.activated, standing=named)
        await self.policy.start()
        stack.push_async_callback(self.policy.stop)
        self.activation = open_watch(settings, self.policy.engine)
        self.activation.start()
        stack.push_async_callback(self.activation.stop)
        self.service = self._service(spans)
        self.server = CheckServer(settings, self.service)
        if settings.listen.metrics:
            status = StatusServer(
                settings.listen.metrics, self.metrics.registry(self._gauges), self.not_ready
            )
            stack.callback(status.close)
        if self.counts:
            self.outcomes = Outcomes(settings, self.ledger, self.counts)
            self.listener = OutcomeServer(settings, self.outcomes)
            await self.listener.start()
            stack.push_async_callback(self.listener.stop)
        await self.server.start()
        stack.push_async_callback(self.server.stop)
        stack.push_async_callback(_cancel, asyncio.create_task(self.scrub.run()))
        self._listening = True

    async def watch(self) -> None:
        """Follow key files and readiness until the worker is to stop."""
        while not self._stopping.is_set():
            self.identifier.refresh()
            if self.counts:
                self.counts.expire()
            self.server.refresh()
            if self.listener:
                self.listener.refresh()
            self.server.set_serving(not self.unable())
            await self.shadowing.follow()
            try:
                await asyncio.wait_for(self._stopping.wait(), LOOK_EVERY_S)
            except TimeoutError:
                continue

    def unable(self) -> list[str]:
        """Every reason why this worker can record no decision. What it is without policy it decides, and
        records: an Envoy that stopped asking would deny with no word of it anywhere.
        """
        reasons = []
        if not self._listening:
            reasons.append("starting")
        if self._stopping.is_set():
            reasons.append("stopping")
        if not self.ledger.healthy:
            reasons.append("ledger: records cannot be written")
        return reasons

    def not_ready(self) -> list[str]:
        """Every reason why another worker, if there is one, should rather get the traffic."""
        reasons = self.unable()
        if math.isinf(self.identifier.keys_age_s):
            reasons.append("identity: no key set was read yet")
        if not self.policy.revision and not self.policy.ready:
            reasons.append("policy: no version is active")
        elif not self.policy.ready and self.policy.staleness_s > self.settings.policy.grace_s:
            reasons.append(f"policy: OPA has been away for {self.policy.staleness_s:.0f} s")
        if 0 < self.settings.policy.failed_s < self.activation.failed_s:
            reasons.append(self.activation.said)
        return reasons

    def _service(self, spans: Spans | None) -> Service:
        settings, wanted = self.settings, self.settings.disclosures
        redaction = Redaction(settings.redaction)
        observer: Observer = DecisionObserver(self.metrics, spans)
        if settings.listen.outcomes:
            observer = self.counts = OutcomeCounts(observer, settings.outcomes.after_s)
        authorizer = Authorizer(
            identify=self.identifier.identify,
            policy=self.policy,
            ledger=self.ledger,
            now=lambda: datetime.now(UTC),
            new_id=lambda: str(uuid_utils.uuid7()),
            timeout_s=settings.policy.timeout_ms / 1000,
            reply_after=settings.ledger.reply_after,
            observer=observer,
            source_tag=SourceTags(key_files.ensure(settings.path(settings.identity.source_key))).tag,
            redaction=redaction,
            explanation=Explanation(wanted, redaction) if wanted.wanted else None,
            shadow=self.shadowing.shadow,
        )
        bursts = Bursts(settings.listen.gather_ms / 1000)
        return Service(settings, authorizer, self.metrics, self.ledger.count_refusal, bursts)

    def _spans(self) -> Spans | None:
        telemetry = self.settings.telemetry
        if not telemetry.otlp_endpoint:
            return None
        service = {
            "service.name": "aegis-worker",
            "service.namespace": self.settings.deployment,
            "service.instance.id": self.settings.worker,
            "service.version": __version__,
        }
        return Spans.otlp(telemetry.otlp_endpoint, telemetry.sampling, service)

    def _ledger_failed(self) -> None:
        self.failed = True
        self._stopping.set()

    def _gauges(self) -> Iterator[Gauge]:
        policy, ledger, cache = self.policy, self.ledger, self.policy.cache
        yield "aegis_ready", "1 when the worker should get traffic.", float(not self.not_ready()), {}
        yield "aegis_waiting_requests", "Requests being decided.", self.service.waiting, {}
        yield from self.shadowing.gauges()
        names = {"version": policy.version, "digest": policy.digest}
        yield "aegis_policy_info", "The active policy version.", 1, names
        yield "aegis_policy_age_seconds", "Since the worker saw the active version.", policy.age_s, {}
        yield "aegis_policy_staleness_seconds", "Since OPA said what is active.", policy.staleness_s, {}
        code, failed_s = self.activation.code, self.activation.failed_s
        yield "aegis_policy_activation_failed", "OPA takes no new version: 1.", bool(code), {"code": code}
        yield "aegis_policy_activation_failed_seconds", "Since that was first seen, or 0.", failed_s, {}
        keys_age = self.identifier.keys_age_s
        yield "aegis_identity_keys_age_seconds", "Since the key set was last read whole.", keys_age, {}
        keys_bad = float(bool(self.identifier.keys_problem))
        yield "aegis_identity_keys_problem", "1 while the key set cannot be read.", keys_bad, {}
        for name, server in (("check", self.server), ("outcomes", self.listener)):
            if server and server.tls:
                yield from server.tls.gauges(name)
        yield "aegis_cache_entries", "Verdicts kept.", len(cache), {}
        yield "aegis_cache_hits_total", "Verdicts given again.", cache.hits, {}
        yield "aegis_cache_misses_total", "Cacheable questions that had no verdict.", cache.misses, {}
        yield "aegis_cache_evictions_total", "Verdicts dropped for room.", cache.evictions, {}
        shared = policy.flights.shared
        yield "aegis_cache_shared_total", "Misses that waited for another's answer.", shared, {}
        for reason, count in list(policy.engine_errors.items()):  # the event loop may add to them
            yield "aegis_engine_errors_total", "Questions without an answer.", count, {"reason_code": reason}
        yield "aegis_ledger_entries", "Entries of the current log.", ledger.seq, {}
        yield "aegis_ledger_healthy", "1 while records can be written.", float(ledger.healthy), {}
        yield (
            "aegis_ledger_unread_entries",
            "Signed before the start, not read since.",
            self.scrub.entries,
            {},
        )
        late = ledger.late_syncs
        yield "aegis_ledger_late_syncs_total", "Times the sync bound was exceeded.", late, {}
        if ledger.disclosures:
            lost = ledger.disclosures.lost
            yield "aegis_disclosures_lost_total", "Records whose disclosures were not kept.", lost, {}
        clock = kernel_clock()["state"]
        if clock != "unknown":
            kept = float(clock == "synchronized")
            yield "aegis_clock_synchronized", "1 while a daemon keeps the clock right.", kept, {}
        with suppress(OSError):  # a disk that is gone must not take the other metrics with it
            disk = shutil.disk_usage(self.settings.ledger_directory)
            yield "aegis_ledger_disk_bytes", "Size of the ledger's disk.", disk.total, {}
            yield "aegis_ledger_disk_free_bytes", "What is free there for this user.", disk.free, {}
        if self.counts and self.outcomes:
            queued, streams = self.outcomes.queued, self.outcomes.streams
            yield from self.counts.gauges(queued, streams, not_written=ledger.notes_lost)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _outside(settings: Settings) -> Outside | None:
    """Who may have seen more of this worker's log than its disk holds."""
    if not settings.anchors.any or not settings.anchors.start_wait_s:
        return None
    from authz.followers.anchors.outside import at_start  # here, so that others need not load the clients

    return at_start(settings)


class _Observed(Observed):
    """Puts what the writer measures into the worker's histograms."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._write, self._sync = metrics.writes[""], metrics.syncs[""]
        self._batch = metrics.batches[""]

    def wrote(self, seconds: float) -> None:
        self._write.observe(seconds)

    def synced(self, seconds: float, entries: int) -> None:
        self._sync.observe(seconds)
        self._batch.observe(entries)
