"""The root's token goes away for longer than a certificate lives, under load, and comes back.

A real token (SoftHSM2), renewals in processes of their own, a real ledger; certificates live for seconds.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from authz.config import Settings
from authz.custody import renew, rotation, token
from authz.errors import EvidenceUnavailable
from authz.followers.renewal import Renewal
from authz.ledger import certificates
from authz.ledger.keyring import Keyring
from authz.ledger.trust import Trust
from authz.ledger.writer import LedgerWriter
from tests import ledgers
from tests.hsm import Token
from tests.workers import Worker, decision


class Load:
    """Appends one decision after the other; `refused` counts those that were not recorded."""

    def __init__(self, ledger: LedgerWriter) -> None:
        self._ledger, self.recorded, self.refused = ledger, 0, 0
        self.refused_at = ""  # the first time

    async def run(self) -> None:
        while True:
            await asyncio.sleep(0.005)
            try:
                await self._ledger.append("decision", decision(self.recorded))
                self.recorded += 1
            except EvidenceUnavailable:
                self.refused_at = self.refused_at or f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
                self.refused += 1


def certified(settings: Settings) -> Keyring:
    """The deployment's record key, certified by the root in the token."""
    token.make_root(settings, datetime.now(UTC))
    ring = Keyring(settings.path(settings.ledger.record_key))
    change = rotation.Change("test", "2026-01-01T00:00:00.000000Z", "", lambda kind, members: None)
    rotation.rotate(ring, "record", change, certify=renew.certifier(settings))
    return ring


@pytest.mark.timeout(300)
async def test_nothing_is_refused_before_the_certificate_ends_and_all_verifies(
    worker: Worker, tmp_path: Path
) -> None:
    hsm = Token(tmp_path / "hsm")
    settings = hsm.settings(worker.state, life_s=8, renew_before_s=4)
    ring, stop = certified(settings), asyncio.Event()
    worker.configure(heartbeat_s=0.05)
    renewal = Renewal(settings, [ring])
    async with worker.running() as ledger:
        load = Load(ledger)
        running = [asyncio.create_task(load.run()), asyncio.create_task(renewal.run(stop))]
        while renewal.renewals < 2:
            await asyncio.sleep(0.05)
        assert load.refused == 0
        hsm.away()
        while not load.refused:
            assert ledger.healthy or load.refused_at or ended(ring)
            await asyncio.sleep(0.05)
        assert load.refused_at > until(ring), "only after the key in use has really run out"
        assert renewal.failures
        hsm.back()
        recorded = load.recorded
        while load.recorded < recorded + 10:
            await asyncio.sleep(0.05)
        assert ledger.healthy
        stop.set()
        running[0].cancel()
        await asyncio.wait(running)
    (entries,) = worker.check()
    assert [entry["kind"] for entry in entries].count("decision") == load.recorded
    root = certificates.read_roots(settings.path(settings.root.certificate).read_bytes())
    report = ledgers.check(worker.root, pinned=Trust(worker.trust().log_keys, (), record_roots=root))
    assert report.verified, report.first_fault
    assert len({ledgers.kid(entry) for entry in entries}) >= 4


def until(ring: Keyring) -> str:
    return certificates.window(certificates.read(ring.in_use().certificate))[1]


def ended(ring: Keyring) -> bool:
    return until(ring) < f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
