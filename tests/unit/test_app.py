"""One worker out of its real parts: when it wants traffic, what it follows, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz.app import EXIT_LEDGER_FAILED, EXIT_OK, Worker, serve
from authz.config import Settings
from authz.errors import ConfigError, IntegrityViolation
from authz.ledger import keys
from authz.ledger.journal import SEGMENT_ENTRIES
from authz.ledger.opening import open_ledger
from authz.wire.server import SERVICE, CheckServer
from tests import ledgers
from tests.policy.faults import FAULTS
from tests.policy.faults import VERSION as BROKEN
from tests.policy.opa import OpaProcess, activate, opa_pulling, opa_with, until, version_of
from tests.tokens import Issuer, write_keys
from tests.unit.identity.server import key_server
from tests.unit.ledger import oracle
from tests.unit.ledger.disks import FailingDisk
from tests.wire.logged import entry, said
from tests.wire.logged import message as logged
from tests.wire.outcomes import METHOD
from tests.worker import PERMISSIVE, Answer, message, read_answer
from tests.workers import Worker as Ledger
from tests.workers import flip, grow

SERVING = health_pb2.HealthCheckResponse.SERVING


class Place:
    """A state directory with keys, an issuer, and the settings of one worker there."""

    def __init__(self, directory: Path, opa_socket: Path) -> None:
        self.issuer, self.state = Issuer(), directory / "var"
        self.jwks = self.state / "keys/agents.jwks.json"
        self.jwks.parent.mkdir(parents=True)
        write_keys(self.jwks, self.issuer)
        for name, seed in (("record", ledgers.RECORD_SEED), ("log", ledgers.LOG_SEED)):
            (self.jwks.parent / f"{name}.key").write_text(seed.hex())
            (self.jwks.parent / f"{name}.key").chmod(0o600)
        self.tree: dict[str, Any] = {
            "deployment": "aegis.test",
            "state": self.state,
            "listen": {"metrics": f"127.0.0.1:{free_port()}", "drain_s": 0.0},
            "policy": {"opa_socket": opa_socket, "timeout_ms": 2000, "poll_ms": 10, "grace_s": 0.0},
            "ledger": {"reply_after": "synced"},
        }

    @property
    def settings(self) -> Settings:
        return Settings.model_validate(self.tree)

    @property
    def socket(self) -> Path:
        return self.state / "run/check.sock"

    def status(self, path: str) -> tuple[int, str]:
        """What the status server says."""
        try:
            answer = urllib.request.urlopen(f"http://{self.tree['listen']['metrics']}{path}", timeout=5)
        except urllib.error.HTTPError as refused:
            answer = refused
        with answer:
            return answer.status, answer.read().decode()

    def kinds(self) -> list[str]:
        """Of the newest epoch, after our verifier and the independent one found the ledger whole."""
        root = self.settings.ledger_directory
        report = ledgers.check(root)
        assert report.verified, report.first_fault
        return [entry["kind"] for entry in oracle.history(root, keys.public_key(ledgers.RECORD_SEED))[-1]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
async def opa(tmp_path: Path) -> AsyncIterator[OpaProcess]:
    async with opa_with(version_of(tmp_path, PERMISSIVE)) as process:
        yield process


@pytest.fixture
def place(tmp_path: Path, opa: OpaProcess) -> Place:
    return Place(tmp_path, opa.socket)


@pytest.fixture(autouse=True)
def thaw() -> Iterator[None]:
    """`serve` freezes what is alive when it starts, which here is the test's own too."""
    yield
    gc.unfreeze()


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[tuple[Worker, Client]]:
    """A worker that is watched as `serve` does it, and one that asks it over its socket."""
    stopping = asyncio.Event()
    worker = Worker(place.settings, stopping)
    async with AsyncExitStack() as stack:
        await worker.start(stack, accept_damage=False)
        watching = asyncio.create_task(worker.watch())
        client = await stack.enter_async_context(Client(place))
        yield worker, client
        stopping.set()
        await watching


class Client:
    """Asks as Envoy does, over gRPC."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._channel = grpc.aio.insecure_channel(f"unix:{place.socket}")
        self._check = self._channel.unary_unary(f"/{SERVICE}/Check")
        self._health = health_pb2_grpc.HealthStub(self._channel)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def check(self, issuer: Issuer | None = None) -> Answer:
        token = (issuer or self._place.issuer).token(now=int(time.time()) - 5)
        return read_answer(await self._check(message(token=token).SerializeToString(), timeout=20))

    async def serving(self) -> bool:
        answer = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=20)
        return bool(answer.status == SERVING)


async def test_a_worker_with_everything_wants_traffic_and_answers_it(place: Place) -> None:
    async with running(place) as (worker, client):
        await until(client.serving)
        assert worker.not_ready() == []
        assert (await client.check()).allowed
        assert await asyncio.to_thread(place.status, "/readyz") == (200, "ok\n")
        _, metrics = await asyncio.to_thread(place.status, "/metrics")
    for line in (
        "aegis_ready 1.0",
        "aegis_waiting_requests 0.0",
        'aegis_decisions_total{decision="allow",reason_code="permitted"} 1.0',
        f'aegis_policy_info{{digest="{worker.policy.digest}",version="v1"}} 1.0',
        "aegis_cache_misses_total 1.0",
        "aegis_ledger_entries 2.0",
        "aegis_ledger_healthy 1.0",
        'aegis_stage_seconds_count{stage="total"} 1.0',
    ):
        assert f"{line}\n" in metrics
    disk = dict(line.split() for line in metrics.splitlines() if line.startswith("aegis_ledger_disk"))
    assert 0 < float(disk["aegis_ledger_disk_free_bytes"]) <= float(disk["aegis_ledger_disk_bytes"])
    assert place.kinds() == ["open", "decision", "close"]


async def test_outcomes_are_heard_where_a_setting_says_so_and_only_there(place: Place) -> None:
    async with running(place):
        _, off = await asyncio.to_thread(place.status, "/metrics")
        assert "aegis_outcomes" not in off
    place.tree["listen"]["outcomes"] = "unix:run/outcomes.sock"
    async with running(place) as (worker, client):
        await until(client.serving)
        decided = (await client.check()).decision_id
        assert worker.counts is not None
        assert worker.counts.pending == 1
        told = said(1, decision_id=decided, log=worker.ledger.log)
        async with grpc.aio.insecure_channel(f"unix:{place.state}/run/outcomes.sock") as channel:
            call = channel.stream_unary(METHOD)()
            await call.write(logged(entry(1, told)))
            await call.done_writing()
            assert await call == b""
            await until(lambda: not worker.counts.pending)
        _, on = await asyncio.to_thread(place.status, "/metrics")
    assert 'aegis_outcomes_total{forwarded="true",joined="in_time"} 1.0\n' in on
    assert "aegis_outcomes_forwarded_without_allow_total 0.0\n" in on
    assert place.kinds() == ["open", "decision", "outcome", "close"]


async def test_a_worker_without_policy_denies_and_wants_no_traffic(place: Place, tmp_path: Path) -> None:
    place.tree["policy"]["opa_socket"] = tmp_path / "nowhere.sock"
    async with running(place) as (worker, client):
        assert worker.not_ready() == ["policy: no version is active"]
        answer = await client.check()
        assert (answer.http_status, answer.body["reason_code"]) == (503, "engine_unavailable")
        assert await asyncio.to_thread(place.status, "/readyz") == (503, "policy: no version is active\n")
        assert (await asyncio.to_thread(place.status, "/healthz"))[0] == 200
        await until(client.serving)  # it is asked all the same: each denial leaves its record
    assert place.kinds() == ["open", "decision", "close"]


async def test_an_engine_that_goes_makes_the_worker_not_ready_but_it_is_still_asked(
    place: Place, opa: OpaProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(place) as (worker, client):
        await until(client.serving)
        said: list[bool] = []
        monkeypatch.setattr(worker.server, "set_serving", said.append)
        await opa.pause()
        await until(worker.not_ready)
        (reason,) = worker.not_ready()
        assert re.fullmatch(r"policy: OPA has been away for \d+ s", reason)
        said.clear()
        await until(lambda: len(said) >= 2)
        assert set(said) == {True}
        opa.go_on()
        await until(lambda: not worker.not_ready())
    assert place.kinds() == ["open", "close"]


async def test_an_engine_is_given_its_grace(place: Place, opa: OpaProcess) -> None:
    place.tree["policy"]["grace_s"] = 3600.0
    async with running(place) as (worker, _):
        await opa.pause()
        await until(lambda: not worker.policy.ready)
        assert worker.not_ready() == []
    assert place.kinds() == ["open", "close"]


async def test_a_version_that_opa_refuses_is_shown_and_after_a_while_makes_the_worker_not_ready(
    place: Place, tmp_path: Path
) -> None:
    place.tree["policy"] |= {"status_s": 1.0, "failed_s": 0.01}
    directory = version_of(tmp_path / "pulled", PERMISSIVE, "v1").file.parent
    activate(directory, "v1")
    async with opa_pulling(directory) as process:
        place.tree["policy"]["opa_socket"] = process.socket
        await until(lambda: is_active(process, "v1"))
        async with running(place) as (worker, client):
            _, metrics = await asyncio.to_thread(place.status, "/metrics")
            assert 'aegis_policy_activation_failed{code=""} 0.0\n' in metrics
            assert "aegis_policy_activation_failed_seconds 0.0\n" in metrics
            FAULTS["unsigned"].make(tmp_path / "pulled")
            activate(directory, BROKEN)
            await until(worker.not_ready)
            (reason,) = worker.not_ready()
            assert re.fullmatch(r"policy: OPA has not taken a new version for \d+ s: unsigned", reason)
            assert (await client.check()).allowed
            assert worker.policy.version == "v1"
            _, metrics = await asyncio.to_thread(place.status, "/metrics")
            assert 'aegis_policy_activation_failed{code="unsigned"} 1.0\n' in metrics
            activate(directory, "v1")
            await until(lambda: not worker.not_ready())
    assert place.kinds() == ["open", "decision", "close"]


async def is_active(process: OpaProcess, version: str) -> bool:
    return (await process.revision()).partition("+")[0] == version


async def test_a_worker_that_starts_or_stops_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = asyncio.Event()
    worker = Worker(place.settings, stopping)
    before: list[list[str]] = []
    listen = CheckServer.start

    async def listen_after_a_look(server: CheckServer) -> None:
        before.append(worker.not_ready())
        await listen(server)

    monkeypatch.setattr(CheckServer, "start", listen_after_a_look)
    async with AsyncExitStack() as stack:
        await worker.start(stack, accept_damage=False)
        assert before == [["starting"]]
        assert worker.not_ready() == []
        stopping.set()
        assert worker.not_ready() == ["stopping"]
    assert place.kinds() == ["open", "close"]


@pytest.mark.timeout(400)
async def test_damage_in_what_the_start_did_not_read_stops_the_worker_and_the_next_start(
    place: Place,
) -> None:
    before = Ledger(place.state, reply_after="bounded")
    async with before.doomed() as ledger:
        await grow(ledger, SEGMENT_ENTRIES + 10)
    before.seal()
    flip(before.epochs[0] / "entries/00000000.jsonl", 4711)
    async with asyncio.timeout(200):
        assert await serve(place.settings) == EXIT_LEDGER_FAILED
    with pytest.raises(IntegrityViolation) as stopped:
        await serve(place.settings)
    assert (stopped.value.seq, stopped.value.line) == (4711, 4712)
    found = ledgers.check(before.root).first_fault
    assert found is not None
    assert found.seq == 4711


async def test_keys_are_followed_while_it_runs(place: Place) -> None:
    later = Issuer("key-2")
    async with running(place) as (worker, client):
        assert (await client.check()).allowed
        assert (await client.check(later)).http_status == 401
        write_keys(place.jwks, later)

        async def believed() -> bool:
            return (await client.check(later)).allowed

        await until(believed)
        refused = await client.check()
        assert (refused.http_status, refused.body["reason_code"]) == (401, "identity_invalid")

        place.jwks.write_text("{")
        before = worker.identifier.keys_age_s
        await until(lambda: worker.identifier.keys_problem)
        await until(lambda: worker.identifier.keys_age_s > before)
        assert (await client.check(later)).allowed  # for as long as identity.keys_max_age_s
        _, metrics = await asyncio.to_thread(place.status, "/metrics")
        (shown,) = (
            line for line in metrics.splitlines() if line.startswith("aegis_identity_keys_age_seconds")
        )
        assert float(shown.split()[1]) > 0
    assert place.kinds().count("decision") >= 4


async def test_keys_of_a_url_are_waited_for_and_followed(place: Place) -> None:
    later = Issuer("key-2")
    with key_server() as issuer:
        place.tree["identity"] = {"jwks_url": issuer.url, "jwks_early_s": 1, "jwks_refresh_s": 1}
        async with running(place) as (worker, client):
            assert worker.not_ready() == ["identity: no key set was read yet"]
            refused = await client.check()
            assert (refused.http_status, refused.body["reason_code"]) == (503, "identity_keys_stale")
            await until(client.serving)  # each refusal leaves its record
            issuer.serve(place.issuer)
            await until(lambda: not worker.not_ready())
            assert (await client.check()).allowed
            issuer.serve(later)

            async def believed() -> bool:
                return (await client.check(later)).allowed

            await until(believed)
            issuer.go_on.clear()  # no answer any more: nobody waits for it
            asked = len(issuer.asked)
            await until(lambda: len(issuer.asked) > asked)
            assert (await client.check(later)).allowed
            _, metrics = await asyncio.to_thread(place.status, "/metrics")
            assert "aegis_identity_keys_problem 0.0\n" in metrics
    assert place.kinds().count("decision") >= 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order(place: Place, number: int) -> None:
    ending = asyncio.create_task(serve(place.settings))
    async with Client(place) as client:
        await until(place.socket.exists)
        await until(client.serving)
        assert (await client.check()).allowed
        os.kill(os.getpid(), number)
        assert await ending == EXIT_OK
    assert place.kinds() == ["open", "decision", "close"]
    assert not place.socket.exists()


async def test_a_ledger_that_fails_ends_it_with_its_own_status_and_without_a_close(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FailingDisk()
    monkeypatch.setattr("authz.app.open_ledger", partial(open_ledger, disk=disk))
    ending = asyncio.create_task(serve(place.settings))
    async with Client(place) as client:
        await until(place.socket.exists)
        await until(client.serving)
        assert (await client.check()).allowed
        disk.broken.add("sync")
        answer = await client.check()
        assert (answer.http_status, answer.body["reason_code"]) == (503, "evidence_unavailable")
        assert await ending == EXIT_LEDGER_FAILED
    assert "close" not in place.kinds()
    monkeypatch.undo()
    async with running(place) as (worker, client):  # the next start recovers from disk
        await until(client.serving)
        assert (await client.check()).allowed
    assert worker.failed is False
    assert place.kinds()[-2:] == ["decision", "close"]


async def test_what_cannot_start_lets_go_of_everything_before_it(place: Place) -> None:
    with socket.socket() as taken:
        host, _, port = place.tree["listen"]["metrics"].partition(":")
        taken.bind((host, int(port)))
        taken.listen()
        with pytest.raises(ConfigError, match=f"metrics address {host}:{port}: "):
            await serve(place.settings)
    assert place.kinds() == ["open", "close"]
    assert not place.socket.exists()
    async with running(place) as (worker, client):
        await until(client.serving)
    assert worker.ledger.log
