"""The follower: seals the ledgers below `state`, writes the deployment's control log, serves and exports
records, and serves policy bundles to OPA.

In: the settings; SIGTERM or SIGINT. Out: checkpoints, control log, record stream, exports, bundles, metrics.
Called by `aegis follow`. It may be killed at any time and never slows a worker. A violation of stored
evidence ends it; a disk, a store or a receiver that is not well is retried, and said.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from typing import Final

import structlog
import uvicorn
from msgspec import Struct
from prometheus_client import CollectorRegistry

from authz.config import Settings
from authz.config_addresses import split_host_port
from authz.errors import ConfigError, EvidenceUnavailable, IntegrityViolation
from authz.followers.activation import ActivationNotes, activation_notes
from authz.followers.bell import Bell
from authz.followers.bundles import Served, bundle_app, versions_of
from authz.followers.candidate import CandidateTask
from authz.followers.control import ControlLog, opener
from authz.followers.durable import Durable
from authz.followers.heads import Heads
from authz.followers.outlets import Outlets
from authz.followers.own_keys import OwnKeys
from authz.followers.releases import teller
from authz.followers.renewal import Renewal
from authz.followers.retention.setup import pruning
from authz.followers.retention.task import RetentionTask
from authz.followers.seal import Sealer
from authz.ledger import control
from authz.ledger.checkpoint_store import open_to_sign
from authz.ledger.checkpoints import Checkpoints
from authz.ledger.lock import Lock
from authz.ledger.outbox import Outbox
from authz.telemetry.http import StatusServer
from authz.telemetry.metrics import Gauge, GaugeCollector

log = structlog.get_logger(__name__)

STOP_S: Final = 10.0  # what a stop waits for each task
POLL_END_S: Final = 2  # what it waits for bundle polls, which end by themselves when told


async def follow(settings: Settings, *, accept_damage: bool = False) -> int:
    """Run until SIGTERM or SIGINT, then seal a last time; 0. `accept_damage` is about the control log.

    Raises ConfigError for an address that is taken or a file that cannot be used, KeyUnusable, LedgerLocked
    if another follower seals here, IntegrityViolation when stored evidence is not what was signed.
    """
    keys = OwnKeys.of(settings)
    with ExitStack() as stack:
        stack.enter_context(_locked(settings))
        listener = stack.enter_context(_listening(settings.follower.bundles))
        sealer, heads = _sealer(settings, keys, stack)
        outbox = stack.enter_context(Outbox(settings.outbox))
        bell, served = Bell(), _served(settings)
        parts = _Parts(
            Sealing(sealer, settings.follower.checkpoint_s, bell),
            ControlLog(
                opener(settings, accept_damage=accept_damage),
                settings.ledger_directory.with_name(control.WORKER),
                outbox,
                Heads(settings.ledger_directory.parent, settings.deployment, heads, outbox, sealer.settled),
                settings.follower.heads_s,
            ),
            Outlets(settings, keys, bell),
            bell,
            served,
            Renewal(settings, keys.records) if settings.root.module else None,
            _retention(settings, stack),
            activation_notes(settings, lambda: served.last, stack.enter_context(Outbox(settings.outbox))),
            _candidate(settings, keys),
        )
        stack.callback(parts.outlets.close)
        if status := _status(settings, parts):
            stack.callback(status.close)
        await parts.outlets.start()
        await _run(settings, parts, listener)
    return 0


class _Parts(Struct, frozen=True):
    """What runs in the follower."""

    sealing: Sealing
    control: ControlLog
    outlets: Outlets
    bell: Bell
    served: Served
    renewal: Renewal | None
    retention: RetentionTask | None
    activation: ActivationNotes
    candidate: CandidateTask | None

    def faults(self) -> list[str]:
        return [part.fault for part in (self.sealing, self.control, self.served) if part.fault]

    def gauges(self) -> Iterator[Gauge]:
        renewal = self.renewal.gauges() if self.renewal else ()
        kept = self.retention.gauges() if self.retention else ()
        judged = self.candidate.gauges() if self.candidate else ()
        always = (self.sealing, self.control, self.outlets, self.activation)
        return chain(*(part.gauges() for part in always), renewal, kept, judged)


def _candidate(settings: Settings, keys: OwnKeys) -> CandidateTask | None:
    if not settings.follower.candidate.version:
        return None
    return CandidateTask(settings, Durable(settings.ledger_directory.parent, settings.deployment, keys))


def _served(settings: Settings) -> Served:
    versions = versions_of(settings)
    return Served(versions, teller(versions, settings.outbox))


def _retention(settings: Settings, stack: ExitStack) -> RetentionTask | None:
    """With an outbox of its own: a connection is one thread's."""
    if not settings.retention.delete:
        return None
    outbox = stack.enter_context(Outbox(settings.outbox))
    return RetentionTask(pruning(settings, outbox), settings.retention.every_s)


def _sealer(settings: Settings, keys: OwnKeys, stack: ExitStack) -> tuple[Sealer, Checkpoints]:
    """The sealer, and a store for those who only read what it signed: a connection is one thread's."""
    store = open_to_sign(settings)
    stack.callback(store.close)
    sealer = Sealer(settings.ledger_directory.parent, settings.deployment, store, keys)
    stack.callback(sealer.close)
    heads = open_to_sign(settings)
    stack.callback(heads.close)
    return sealer, heads


class Sealing:
    """Rounds of sealing, one every `every_s`, the last one after `stop`; `bell` rings after each."""

    def __init__(self, sealer: Sealer, every_s: float, bell: Bell) -> None:
        self._sealer, self._every_s, self._bell = sealer, every_s, bell
        self._since = time.monotonic()  # the last moment at which nothing was left to seal
        self.fault = "nothing was looked at yet"
        self.failures = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Raises IntegrityViolation."""
        while True:
            last = stop.is_set()
            await self._round()
            if last:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._every_s)

    async def _round(self) -> None:
        started = time.monotonic()
        try:
            await asyncio.to_thread(self._sealer.round)
        except IntegrityViolation as violation:
            log.critical("integrity_violation", what=str(violation))
            raise
        except (OSError, EvidenceUnavailable) as error:  # tried again at the next round
            self.failures += 1
            self.fault = str(error)
            log.error("seal_failed", error=str(error))  # noqa: TRY400 - where is in the text
        else:
            self.fault = ""
            self._since = started
        self._bell.ring()

    def gauges(self) -> Iterator[Gauge]:
        sealer, behind_s = self._sealer, time.monotonic() - self._since
        yield (
            "aegis_follower_lag_entries",
            "Entries read and not yet under a checkpoint.",
            sealer.unsealed,
            {},
        )
        yield (
            "aegis_follower_last_seal_seconds",
            "Time since everything on disk was last under a checkpoint, seconds.",
            behind_s,
            {},
        )
        yield "aegis_follower_checkpoints_total", "Checkpoints signed.", sealer.sealed, {}
        yield "aegis_follower_failures_total", "Rounds of sealing that failed.", self.failures, {}
        yield (
            "aegis_follower_broken_epochs",
            "Epochs that end in a gap or a failed sync, and stay unsealed from there.",
            sealer.broken,
            {},
        )


class _BundleServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process has its own handlers."""
        yield


async def _run(settings: Settings, parts: _Parts, listener: socket.socket) -> None:
    """All tasks until a signal, or until one ends; then the others are stopped too: the control log first,
    so that its end is sealed, and the outlets last.
    """
    stop, written = asyncio.Event(), asyncio.Event()
    app = bundle_app(parts.served, stop.is_set)
    server = _BundleServer(
        uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=POLL_END_S
        )
    )
    control_log = asyncio.create_task(parts.control.run(parts.bell, stop), name="control")
    seal = asyncio.create_task(parts.sealing.run(written), name="seal")
    tasks: list[asyncio.Task[None]] = [
        control_log,
        seal,
        asyncio.create_task(server.serve(sockets=[listener]), name="bundles"),
        asyncio.create_task(parts.activation.run(stop), name="activation"),
        *(asyncio.create_task(task, name=name) for name, task in parts.outlets.tasks().items()),
    ]
    if parts.renewal:
        tasks.append(asyncio.create_task(parts.renewal.run(stop), name="renewal"))
    if parts.retention:
        tasks.append(asyncio.create_task(parts.retention.run(stop), name="retention"))
    if parts.candidate:
        tasks.append(asyncio.create_task(parts.candidate.run(stop), name="candidate"))
    stopping = asyncio.create_task(stop.wait())
    log.info("follower_started", bundles=settings.follower.bundles, ledgers=str(settings.state / "ledger"))
    with _signals(stop):
        await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            log.error("task_ended", task=task.get_name())
    stop.set()
    server.should_exit = True
    await asyncio.wait([control_log], timeout=STOP_S)
    written.set()
    await asyncio.wait([seal], timeout=STOP_S)
    parts.outlets.ended.set()
    _, hanging = await asyncio.wait([*tasks, stopping], timeout=STOP_S)
    for name in sorted(task.get_name() for task in hanging):
        log.error("task_hangs", task=name)
    for task in tasks:
        if task.done():
            task.result()


@contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """The first signal sets `stop`; another one ends the process as if nobody listened."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    file = settings.state / "follower.lock"
    try:
        lock = Lock(file, f"{file}: another follower seals these ledgers")
    except OSError as error:
        raise EvidenceUnavailable(f"{error.filename or file}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
    try:
        host, port, family = split_host_port(address)
        listener = socket.create_server((host, port), family=family)
    except ValueError as error:
        raise ConfigError(f"follower.bundles: {address}: {error}") from None
    except OSError as error:
        raise ConfigError(f"follower.bundles: {address}: {error.strerror or error}") from None
    with listener:
        yield listener


def _status(settings: Settings, parts: _Parts) -> StatusServer | None:
    if not settings.follower.metrics:
        return None
    registry = CollectorRegistry()
    registry.register(GaugeCollector(parts.gauges))
    return StatusServer(settings.follower.metrics, registry, parts.faults)
