"""Renewal by a real token, in a process of its own: in time, and when the token is away, hangs or crashes."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from authz.config import Settings
from authz.custody import renew, rotation, token
from authz.custody.rotation import Change
from authz.followers.renewal import Renewal
from authz.ledger import certificates, keys, trust, verify
from authz.ledger.clock import Stamp
from authz.ledger.keyring import Keyring
from authz.ledger.outbox import Outbox
from tests import ledgers
from tests.hsm import Token
from tests.workers import Worker, decision


@pytest.fixture
def hsm(tmp_path: Path) -> Token:
    return Token(tmp_path / "hsm")


@pytest.fixture
def settings(hsm: Token, worker: Worker) -> Settings:
    """Of the worker's deployment, whose record key is not certified yet."""
    made = hsm.settings(worker.state, life_s=3600, renew_before_s=1800)
    token.make_root(made, datetime.now(UTC))
    return made


def ring(settings: Settings) -> Keyring:
    return Keyring(settings.path(settings.ledger.record_key))


def pinned(worker: Worker, settings: Settings) -> trust.Trust:
    """Trust that pins the root, and of the record keys only the one from before there was a root."""
    root = certificates.read_roots(settings.path(settings.root.certificate).read_bytes())
    whole = worker.trust()
    return trust.Trust(whole.log_keys, (ledgers.SIGNER.public,), record_roots=root)


async def test_a_key_without_a_certificate_gives_way_to_one_that_has_it(
    worker: Worker, settings: Settings
) -> None:
    renewal = Renewal(settings, [ring(settings)])
    async with worker.running() as ledger:
        await renewal.round()
        assert renewal.fault == ""
        ledger.follow_key()
        await ledger.append("decision", decision(1))
    in_use = ring(settings).in_use()
    assert in_use.certificate
    assert 3500 < renewal.left_s(ring(settings)) <= 3600
    report = verify.verify(worker.root, pinned(worker, settings), 3)
    assert report.verified, report.first_fault
    (entries,) = worker.check()
    (handed,) = [entry for entry in entries if entry["kind"] == "key"]
    assert handed["certificate"] == in_use.certificate
    with Outbox(settings.outbox) as outbox:
        told = [(event.members["action"], event.members["key_id"]) for event in outbox.waiting(9)]
    assert told == [("certify", in_use.kid), ("rotate", in_use.kid)]


async def test_it_is_renewed_before_it_ends_and_not_sooner(worker: Worker, settings: Settings) -> None:
    ahead = 0.0
    renewal = Renewal(settings, [ring(settings)], wall=lambda: datetime.now(UTC).timestamp() + ahead)
    await renewal.round()
    first = ring(settings).in_use()
    ahead = 1700.0
    await renewal.round()
    assert (ring(settings).in_use(), renewal.renewals) == (first, 1)
    ahead = 1900.0
    await renewal.round()
    assert ring(settings).in_use() != first
    assert (renewal.renewals, renewal.failures) == (2, 0)


async def test_a_token_that_is_away_costs_a_try_and_no_key(
    worker: Worker, settings: Settings, hsm: Token
) -> None:
    hsm.away()
    renewal = Renewal(settings, [ring(settings)])
    before = ring(settings).in_use()
    await renewal.round()
    assert "token 'aegis'" in renewal.fault
    assert (ring(settings).in_use(), renewal.failures) == (before, 1)
    async with worker.running() as ledger:
        await ledger.append("decision", decision(1))
    hsm.back()
    await renewal.round()
    assert (renewal.fault, renewal.renewals) == ("", 1)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import time; time.sleep(600)", "did not answer within 0.5 s"),
        ("import os; os.kill(os.getpid(), 11)", "ended with status -11"),
        ("raise SystemExit('a\\nlast words')", "last words"),
    ],
)
async def test_a_child_that_hangs_or_crashes_is_said(worker: Worker, hsm: Token, code: str, why: str) -> None:
    settings = hsm.settings(worker.state, timeout_s=0.5 if "sleep" in code else 60)
    renewal = Renewal(settings, [ring(settings)], command=(sys.executable, "-c", code))
    await renewal.round()
    assert why in renewal.fault
    assert renewal.failures == 1


async def test_it_looks_by_itself_until_it_is_stopped(worker: Worker, settings: Settings) -> None:
    renewal, stop = Renewal(settings, [ring(settings)]), asyncio.Event()
    running = asyncio.create_task(renewal.run(stop))
    while not renewal.renewals:
        await asyncio.sleep(0.05)
    stop.set()
    await running
    gauges = {name: value for name, _, value, _ in renewal.gauges()}
    assert gauges["aegis_record_certificate_seconds"] > 3500
    assert gauges["aegis_record_renewals_total"] == 1


async def test_without_a_root_there_is_nothing_to_certify(worker: Worker) -> None:
    assert renew.certifier(worker.settings) is None


async def test_generated_keys_are_certified_at_once(hsm: Token, tmp_path: Path) -> None:
    settings: Any = hsm.settings(tmp_path / "other")
    token.make_root(settings, datetime.now(UTC))
    with Outbox(settings.outbox) as outbox:
        change = Change("ana", Stamp(lambda: 0).now(), "", outbox.put)
        rotation.generate(ring(settings), "record", change, renew.certifier(settings))
        told = [event.members["action"] for event in outbox.waiting(9)]
    key = ring(settings).in_use()
    assert certificates.subject(certificates.read(key.certificate)) == key.public
    assert keys.public_key(ring(settings).seed()) == key.public
    assert told == ["certify", "generate"]
