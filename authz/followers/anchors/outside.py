"""All anchors that the settings name, as tasks of the follower.

In: the settings, the deployment's keys. Out: one task for each anchor, gauges, the tail-exposure window. They
depend on nothing but sealed checkpoints on disk, and nothing depends on them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine, Iterator
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from cryptography import x509

from authz.config import Settings
from authz.errors import ConfigError
from authz.followers.anchors import seen
from authz.followers.anchors.anchor import Anchor, Candidate
from authz.followers.anchors.checkpoints import Checkpoints
from authz.followers.anchors.directory import DirectoryAnchor
from authz.followers.anchors.pinned import tsa_roots_of, witnesses_of
from authz.followers.anchors.receipts import Receipts
from authz.followers.anchors.rfc3161 import Rfc3161Anchor
from authz.followers.anchors.runner import Anchoring
from authz.followers.anchors.seen import AtStart
from authz.followers.anchors.witness import WitnessAnchor
from authz.followers.own_keys import OwnKeys
from authz.http_client import trust
from authz.ledger import control
from authz.ledger.checkpoint_store import open_to_sign
from authz.ledger.outbox import Outbox
from authz.ledger.proofs import Proofs
from authz.ledger.quorum import Policy
from authz.telemetry.metrics import Gauge


class Outside:
    """Raises ConfigError for a file that cannot be used, KeyUnusable for CAs, EvidenceUnavailable."""

    def __init__(self, settings: Settings, keys: OwnKeys) -> None:
        self._settings, self._keys = settings, keys
        self._checkpoints = Checkpoints(settings.ledger_directory.parent, settings.deployment, keys)
        self._anchors = anchors(settings)
        self._outbox = Outbox(settings.outbox) if self._anchors else None
        receipts = Receipts(settings.path(settings.anchors.receipts))
        self._tasks = [
            Anchoring(
                anchor,
                partial(self._checkpoints.sealed, settings.anchors.of(anchor.kind)),
                receipts,
                partial(self._outbox.put, "anchor") if self._outbox else lambda _: None,
                learn=self._learn,
                longest_wait_s=settings.anchors.retry_max_s,
                clock=time.time,
                random=random.SystemRandom().random,
            )
            for anchor in self._anchors
        ]

    async def start(self) -> None:
        """Learn what was seen outside of the logs that go on here. Raises IntegrityViolation if that is
        another history.
        """
        if self._anchors and self._settings.anchors.start_wait_s:
            logs = [place.log for place in self._checkpoints.places() if not place.final]
            await asyncio.gather(*(asyncio.to_thread(self._learn, log, 0) for log in logs))

    def tasks(self, stop: asyncio.Event) -> dict[str, Coroutine[Any, Any, None]]:
        """What is to run until `stop`, by name. One raises IntegrityViolation."""
        return {f"anchor-{each.kind}": each.run(stop) for each in self._tasks}

    def gauges(self) -> Iterator[Gauge]:
        for each in self._tasks:
            yield from each.gauges()
        if self._tasks:
            yield (
                "aegis_tail_exposure_seconds",
                "Time since the last outside anchor of the log that waits longest; what came after it could "
                "be rewritten by the holder of the keys.",
                self._exposure_s(),
                {},
            )

    def close(self) -> None:
        if self._outbox:
            self._outbox.close()

    def _exposure_s(self) -> float:
        """Of each log the best anchor counts, of all logs the worst. Whoever has seen the control log has
        seen the heads of the others in it, at most `follower.heads_s` older.
        """
        best: dict[str, float] = {}
        for each in self._tasks:
            for log, exposed_s in each.exposures().items():
                best[log] = min(exposed_s, best.get(log, exposed_s))
        prefix = f"{self._settings.deployment}/{control.WORKER}/"
        bound_s = max((best[log] for log in best if log.startswith(prefix)), default=inf)
        return max((min(exposed_s, bound_s) for exposed_s in best.values()), default=0.0)

    def _learn(self, log: str, size: int) -> None:
        """On a thread."""
        store = open_to_sign(self._settings)
        try:
            known = store.latest(log)
            size = max(size, known[0] if known else 0)
            wait_s = self._settings.anchors.start_wait_s
            seen.learn(store, log, seen.beyond(self._anchors, log, size, self._keys.publics, wait_s))
        finally:
            store.close()


def at_start(settings: Settings) -> AtStart | None:
    """Whom a worker asks before it goes on with what is on its disk; None if there is nobody. Raises
    ConfigError, KeyUnusable.
    """
    if not settings.anchors.any or not settings.anchors.start_wait_s:
        return None
    found = _holders(settings)
    receipts = settings.path(settings.anchors.receipts)
    if receipts.is_dir():
        found.append(DirectoryAnchor(receipts, 0.0))  # survives where only the ledger was rolled back
    return AtStart(found, settings.anchors.start_wait_s) if found else None


def anchors(settings: Settings) -> list[Anchor]:
    """Those that are set. Raises ConfigError, KeyUnusable."""
    found = _holders(settings)
    if roots := tsa_roots_of(settings):
        found.append(_rfc3161(settings, roots))
    return found


def _holders(settings: Settings) -> list[Anchor]:
    """Those that keep what they were shown."""
    found: list[Anchor] = []
    section = settings.anchors
    if policy := witnesses_of(settings):
        found.append(_witness(settings, policy))
    if section.s3.bucket:
        from authz.followers.anchors.s3 import S3Anchor  # here, so that nobody else loads boto3

        found.append(S3Anchor(section.s3, settings.state))
    if section.directory.path:
        found.append(DirectoryAnchor(settings.path(section.directory.path), section.directory.every_s))
    return found


def _witness(settings: Settings, policy: Policy) -> WitnessAnchor:
    section = settings.anchors.witness
    file = settings.path(section.policy or Path())
    if policy.met_at(dict.fromkeys(policy.urls, 1)) is None:
        raise ConfigError(f"{file}: the quorum cannot be had from the witnesses that have a URL")
    for name, url in policy.urls.items():
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"{file}: witness {name}: {url} is not an http URL")
    return WitnessAnchor(
        policy,
        partial(_prove, Proofs()),
        every_s=section.every_s,
        timeout_s=section.timeout_s,
        tls=trust(section.ca and settings.path(section.ca)),
    )


def _rfc3161(settings: Settings, roots: tuple[x509.Certificate, ...]) -> Rfc3161Anchor:
    section = settings.anchors.rfc3161
    return Rfc3161Anchor(
        section.url,
        roots,
        every_s=section.every_s,
        timeout_s=section.timeout_s,
        tls=trust(section.ca and settings.path(section.ca)),
    )


def _prove(proofs: Proofs, candidate: Candidate, old: int) -> list[bytes]:
    """Why the candidate goes on from its first `old` entries. Raises IntegrityViolation, OSError."""
    return proofs.tree(candidate.place.directory, candidate.checkpoint).consistency_proof(old)
