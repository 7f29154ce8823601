"""All anchors together, as the follower runs them: real witness, real authority, real S3, a directory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from authz.config import Settings
from authz.errors import ConfigError, IntegrityViolation
from authz.followers.anchors.outside import Outside, anchors
from authz.followers.own_keys import OwnKeys
from authz.ledger import anchors as given_anchors
from authz.ledger import notes, verify
from authz.ledger.checkpoints import CheckpointStore
from authz.ledger.outbox import Outbox
from tests import ledgers
from tests.anchoring import KINDS, Everybody, everybody, sealed
from tests.cosigning import WITNESS
from tests.wire.serving import until
from tests.workers import Worker


@pytest.fixture
def outsiders(tmp_path: Path) -> Iterator[Everybody]:
    with everybody(tmp_path) as made:
        yield made


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Outside]:
    outside, stop = Outside(settings, OwnKeys.of(settings)), asyncio.Event()
    await outside.start()
    tasks = [asyncio.create_task(each, name=name) for name, each in outside.tasks(stop).items()]
    try:
        yield outside
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 60)
        outside.close()


def gauge(outside: Outside, name: str, anchor: str = "") -> float:
    return next(
        value
        for found, _, value, labels in outside.gauges()
        if found == name and labels.get("anchor", "") == anchor
    )


async def test_everybody_outside_sees_the_newest_checkpoint(worker: Worker, outsiders: Everybody) -> None:
    log = await sealed(worker)
    outsiders.witness.trust(log)
    settings = outsiders.settings(worker)
    async with running(settings) as outside:
        await until(lambda: all(gauge(outside, "aegis_anchor_anchored_total", kind) for kind in KINDS), 60)
        assert gauge(outside, "aegis_tail_exposure_seconds") == 0
    trust = outsiders.trust()
    given = given_anchors.read([settings.path(settings.anchors.receipts)], trust)
    report = verify.verify(worker.root, trust, given=given)
    assert report.verified, report.first_fault
    assert {dated.by: dated.size for dated in report.logs[0].anchors} == {
        "": 5,
        "time stamp": 5,
        "witnesses": 5,
    }
    assert report.exposure == "none: every entry is under an outside anchor"
    with Outbox(settings.outbox) as outbox:
        events = outbox.waiting(10)
    assert {(event.kind, event.members["anchor"]) for event in events} == {
        ("anchor", kind) for kind in ("directory", "rfc3161", "s3", "witness")
    }
    assert (outsiders.elsewhere / log / f"{5:020}").is_file()


async def test_one_that_is_gone_holds_up_no_other(worker: Worker, outsiders: Everybody) -> None:
    await sealed(worker)
    outsiders.witness.stop()
    async with running(outsiders.settings(worker)) as outside:
        await until(
            lambda: all(gauge(outside, "aegis_anchor_anchored_total", kind) for kind in KINDS[1:]), 60
        )
        await until(lambda: gauge(outside, "aegis_anchor_failures_total", "witness"), 60)
        assert gauge(outside, "aegis_anchor_lag_seconds", "witness") > 0
        assert gauge(outside, "aegis_tail_exposure_seconds") == 0


async def test_the_exposure_is_that_of_the_worst_log(worker: Worker, outsiders: Everybody) -> None:
    outsiders.section = {"witness": outsiders.section["witness"]}  # does not know this log
    await sealed(worker)
    async with running(outsiders.settings(worker)) as outside:
        await until(lambda: gauge(outside, "aegis_anchor_refused_logs", "witness"), 60)
        exposed = gauge(outside, "aegis_tail_exposure_seconds")
        assert exposed == pytest.approx(gauge(outside, "aegis_anchor_lag_seconds", "witness"), abs=5)
        assert exposed > 0


async def test_without_anchors_there_is_nothing_to_run_or_to_show(worker: Worker) -> None:
    async with running(worker.settings) as outside:
        assert outside.tasks(asyncio.Event()) == {}
        assert list(outside.gauges()) == []
    assert not worker.settings.outbox.exists()


@pytest.mark.parametrize("source", KINDS)
async def test_what_was_seen_outside_is_in_the_store_before_anything_is_sealed(
    worker: Worker, outsiders: Everybody, source: str
) -> None:
    """The disk with its store was rolled back: nothing here remembers, but for those who keep checkpoints."""
    worker.judged = True
    log = await sealed(worker)
    outsiders.witness.trust(log)
    outsiders.section = {source: outsiders.section[source], "start_wait_s": 20}
    settings = outsiders.settings(worker)
    async with running(settings) as outside:
        await until(lambda: gauge(outside, "aegis_anchor_anchored_total", source), 60)
    epoch = worker.epochs[-1]
    ledgers.store(epoch, ledgers.read(epoch)[:3])
    ledgers.seal(epoch, log)
    settings.path(settings.follower.checkpoint_store).unlink()
    async with running(settings):
        pass
    if source == "rfc3161":  # an authority keeps nothing
        worker.seal()
        return
    with pytest.raises(IntegrityViolation, match="rolled back: 5 entries were sealed, and 3 are there"):
        worker.seal()


async def test_another_history_of_the_same_size_ends_the_start(worker: Worker, outsiders: Everybody) -> None:
    log = await sealed(worker)
    directory = outsiders.elsewhere / log
    directory.mkdir(parents=True)
    (directory / f"{9:020}").write_bytes(notes.sign(log, 9, b"\x09" * 32, ledgers.LOG_SEED))
    outsiders.section = {"directory": outsiders.section["directory"]}
    settings = outsiders.settings(worker)
    outside = Outside(settings, OwnKeys.of(settings))
    await outside.start()
    outside.close()
    store = CheckpointStore(worker.settings.path(worker.settings.follower.checkpoint_store))
    with pytest.raises(IntegrityViolation, match="two roots for 9 entries"):
        store.advance(log, 9, b"\x08" * 32, expected=9)
    store.close()


# -- settings


def of(worker: Worker, **section: Any) -> Settings:
    return Settings.model_validate(worker.settings.model_dump() | {"anchors": section})


def test_a_policy_file_that_cannot_be_used_is_named(worker: Worker, tmp_path: Path) -> None:
    file = tmp_path / "policy"
    with pytest.raises(ConfigError, match=f"{file}: No such file"):
        anchors(of(worker, witness={"policy": file}))
    file.write_text("witness w1 nonsense\n")
    with pytest.raises(ConfigError, match=f"{file}: line 1: not a vkey"):
        anchors(of(worker, witness={"policy": file}))


def test_a_quorum_that_nobody_can_be_asked_for_is_said(worker: Worker, tmp_path: Path) -> None:
    file = tmp_path / "policy"
    file.write_text(f"witness w1 {WITNESS.vkey}\nquorum w1\n")
    with pytest.raises(ConfigError, match="the quorum cannot be had from the witnesses that have a URL"):
        anchors(of(worker, witness={"policy": file}))
    file.write_text(f"witness w1 {WITNESS.vkey} ftp://w.test/\nquorum w1\n")
    with pytest.raises(ConfigError, match=r"witness w1: ftp://w\.test/ is not an http URL"):
        anchors(of(worker, witness={"policy": file}))


def test_roots_that_are_none_are_named(worker: Worker, tmp_path: Path) -> None:
    file = tmp_path / "roots.pem"
    file.write_text("nonsense")
    with pytest.raises(ConfigError, match=f"{file}: "):
        anchors(of(worker, rfc3161={"url": "http://tsa.test/", "roots": file}))
