"""The follower's process: it seals and serves until it is told to stop, and says why it cannot."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from authz._pb.aegis.v1 import ledger_pb2 as pb
from authz._pb.aegis.v1.ledger_pb2_grpc import LedgerStub
from authz.config import Settings
from authz.errors import ConfigError, EvidenceUnavailable, IntegrityViolation, KeyUnusable, LedgerLocked
from authz.followers.bell import Bell
from authz.followers.bundles import RESOURCE
from authz.followers.process import Sealing, follow
from authz.followers.seal import Sealer
from authz.ledger import notes
from authz.ledger.checkpoints import CheckpointStore
from tests import ledgers
from tests.cosigning import WITNESS
from tests.policy.opa import activate, listed
from tests.workers import Worker, decision

BUNDLE = f"v1+{'1' * 64}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def settings(worker: Worker) -> Settings:
    (worker.state / "bundles").mkdir()
    follower = {
        "checkpoint_s": 0.01,
        "bundles": f"127.0.0.1:{free_port()}",
        "metrics": f"127.0.0.1:{free_port()}",
    }
    return Settings(deployment="aegis.test", state=worker.state, follower=follower)


@asynccontextmanager
async def following(
    settings: Settings, end: signal.Signals = signal.SIGTERM
) -> AsyncIterator[httpx.AsyncClient]:
    """The follower as a task, once it is ready, until the signal `end`. A client for what it serves."""
    task = asyncio.create_task(follow(settings))
    async with httpx.AsyncClient() as client:
        while await ready(client, settings) != "ok\n":
            assert not task.done(), task.exception()
            await asyncio.sleep(0.005)
        yield client
    os.kill(os.getpid(), end)
    assert await asyncio.wait_for(task, 60) == 0


async def ready(client: httpx.AsyncClient, settings: Settings) -> str:
    try:
        return (await client.get(f"http://{settings.follower.metrics}/readyz")).text
    except httpx.TransportError:
        return "nobody there"


def sealed(worker: Worker) -> int:
    file = worker.epochs[-1] / "checkpoint" if worker.root.is_dir() and worker.epochs else Path("none")
    return notes.parse(file.read_bytes()).size if file.exists() else 0


async def test_it_seals_what_a_worker_writes_until_it_is_stopped(worker: Worker, settings: Settings) -> None:
    async with following(settings), worker.running() as ledger:
        for number in range(3):
            await ledger.append("decision", decision(number))
            while sealed(worker) < ledger.seq:
                await asyncio.sleep(0.002)
    assert sealed(worker) == 5


async def test_an_anchor_that_hangs_keeps_nobody_waiting(worker: Worker, settings: Settings) -> None:
    """A witness takes the connection and never answers: recording, sealing and reading go on."""
    policy = worker.state / "witnesses.policy"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        policy.write_text(f"witness w1 {WITNESS.vkey} {url}\nquorum w1\n")
        section = {"witness": {"policy": policy, "of": "all", "timeout_s": 5}, "start_wait_s": 0.1}
        hanging = Settings.model_validate(settings.model_dump() | {"anchors": section})
        async with following(hanging), worker.running() as ledger:
            for number in range(3):
                await ledger.append("decision", decision(number))
                while sealed(worker) < ledger.seq:
                    await asyncio.sleep(0.002)


async def test_stopping_seals_a_last_time(worker: Worker, settings: Settings) -> None:
    slow = settings.model_copy(
        update={"follower": settings.follower.model_copy(update={"checkpoint_s": 3600})}
    )
    async with following(slow):
        async with worker.running() as ledger:
            await ledger.append("decision", decision(1))
        assert sealed(worker) == 0
    assert sealed(worker) == 3


async def test_the_last_round_begins_after_the_stop(worker: Worker) -> None:
    """A round that was under way may have read an epoch before its last entries were written."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    class Stopped(Sealer):
        rounds = 0

        def round(self) -> None:
            self.rounds += 1
            asyncio.run_coroutine_threadsafe(_set(stop), loop).result(30)

    store = CheckpointStore(worker.state / "checkpoints.sqlite")
    sealer = Stopped(worker.root.parent, "aegis.test", store, ledgers.LOG_SEED)
    await Sealing(sealer, 3600, Bell()).run(stop)
    assert sealer.rounds == 2
    store.close()


async def _set(stop: asyncio.Event) -> None:
    stop.set()


async def test_it_serves_bundles_and_ends_long_polls_when_it_stops(
    worker: Worker, settings: Settings
) -> None:
    directory = worker.state / "bundles"
    listed(directory, BUNDLE, b"bundle")
    activate(directory, "v1")
    async with httpx.AsyncClient(timeout=60) as waiting:
        async with following(settings, signal.SIGINT) as client:
            url = f"http://{settings.follower.bundles}/{RESOURCE}"
            answer = await client.get(url)
            assert (answer.status_code, answer.content) == (200, b"bundle")
            poll = {"If-None-Match": answer.headers["etag"], "Prefer": "modes=snapshot;wait=50"}
            polling = asyncio.create_task(waiting.get(url, headers=poll))
            while not any("run_asgi" in repr(task.get_coro()) for task in asyncio.all_tasks()):
                await asyncio.sleep(0.005)
            assert not polling.done()
        assert (await polling).status_code == 304


async def metrics(client: httpx.AsyncClient, settings: Settings) -> str:
    return (await client.get(f"http://{settings.follower.metrics}/metrics")).text


async def test_its_metrics_say_how_far_behind_it_is(worker: Worker, settings: Settings) -> None:
    async with following(settings) as client, worker.running() as ledger:
        await ledger.append("decision", decision(1))
        while sealed(worker) < ledger.seq or (
            "aegis_follower_lag_entries 0.0" not in (shown := await metrics(client, settings))
        ):
            await asyncio.sleep(0.005)
        assert "aegis_follower_checkpoints_total 0.0" not in shown
    assert "aegis_follower_failures_total 0.0" in shown
    assert "aegis_follower_broken_epochs 0.0" in shown
    assert "aegis_follower_last_seal_seconds " in shown


async def test_what_cannot_be_sealed_makes_it_not_ready_and_is_tried_again(
    worker: Worker, settings: Settings
) -> None:
    async with worker.running() as ledger:
        blocked = worker.epochs[0] / ".checkpoint.new"
        async with following(settings) as client:
            while sealed(worker) < 1:
                await asyncio.sleep(0.002)
            blocked.mkdir()
            await ledger.append("decision", decision(1))
            while "Is a directory" not in await ready(client, settings):
                await asyncio.sleep(0.005)
            while "aegis_follower_lag_entries 1.0" not in await metrics(client, settings):
                await asyncio.sleep(0.005)
            blocked.rmdir()
            while await ready(client, settings) != "ok\n":
                await asyncio.sleep(0.005)
            assert sealed(worker) == 2


async def test_a_violation_ends_it(worker: Worker, settings: Settings) -> None:
    async with worker.running() as ledger:
        await ledger.append("decision", decision(1))
    stored = ledgers.read(worker.epochs[0])
    stored[0] = stored[0].replace(b"aegis.test", b"aegis.tesu", 1)
    ledgers.store(worker.epochs[0], stored)
    worker.judged = True
    with pytest.raises(IntegrityViolation, match=f"{worker.segment()}, line 1, seq 0"):
        await asyncio.wait_for(follow(settings), 60)
    assert sealed(worker) == 0


@pytest.mark.parametrize("which", ["bundles", "metrics"])
async def test_an_address_that_is_taken_is_named(worker: Worker, settings: Settings, which: str) -> None:
    address: Any = getattr(settings.follower, which)
    with (
        socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))),
        pytest.raises(ConfigError, match=address),
    ):
        await follow(settings)


@pytest.mark.parametrize("address", ["nowhere", ":8282", "127.0.0.1:http", "127.0.0.1:99999"])
async def test_what_is_no_address_is_named(settings: Settings, address: str) -> None:
    wrong = settings.model_copy(
        update={"follower": settings.follower.model_copy(update={"bundles": address})}
    )
    with pytest.raises(ConfigError, match=f"follower.bundles: {address}"):
        await follow(wrong)


async def test_a_second_follower_is_refused(worker: Worker, settings: Settings) -> None:
    second = {"bundles": f"127.0.0.1:{free_port()}", "metrics": ""}
    other = settings.model_copy(update={"follower": settings.follower.model_copy(update=second)})
    async with following(settings):
        with pytest.raises(LedgerLocked, match="another follower seals these ledgers"):
            await follow(other)


async def test_a_log_key_that_cannot_be_used_is_named(worker: Worker, settings: Settings) -> None:
    (worker.state / "keys" / "log.key").chmod(0o644)
    with pytest.raises(KeyUnusable, match=r"log\.key"):
        await follow(settings)


async def test_a_store_whose_directory_is_missing_is_named(worker: Worker, settings: Settings) -> None:
    missing = {"checkpoint_store": "missing/store"}
    wrong = settings.model_copy(update={"follower": settings.follower.model_copy(update=missing)})
    with pytest.raises(EvidenceUnavailable, match="missing/store"):
        await follow(wrong)


async def test_it_serves_records_and_exports_them_to_the_last_one_when_it_stops(
    worker: Worker, settings: Settings
) -> None:
    wanted = {"files": {"enabled": True, "columns": {}}}
    exporting = Settings(
        deployment="aegis.test", state=worker.state, follower=settings.follower, exporters=wanted
    )
    async with following(exporting) as client:
        async with worker.running() as ledger:
            await ledger.append("decision", decision(1))
        async with grpc.aio.insecure_channel(f"unix:{worker.state}/run/ledger.sock") as channel:
            call = LedgerStub(channel).StreamEntries(
                pb.StreamEntriesRequest(worker="worker-0", follow=True), wait_for_ready=True
            )
            while sealed(worker) < 3:
                await asyncio.sleep(0.005)
            assert [(await call.read()).seq for _ in range(3)] == [0, 1, 2]
            shown = await metrics(client, exporting)
            assert "aegis_stream_clients 1.0" in shown
            assert 'aegis_export_stopped{exporter="files"} 0.0' in shown
            assert 'aegis_export_lag_entries{exporter="files"}' in shown
    records = worker.state / "export/records/worker-0/records.jsonl"
    assert records.read_bytes().splitlines() == ledgers.read(worker.epochs[0])


async def test_an_exporter_that_cannot_be_made_is_named(worker: Worker, settings: Settings) -> None:
    otlp = {"endpoint": "127.0.0.1:1", "headers": "missing"}
    wrong = Settings(
        deployment="aegis.test", state=worker.state, follower=settings.follower, exporters={"otlp": otlp}
    )
    with pytest.raises(ConfigError, match="missing"):
        await follow(wrong)
