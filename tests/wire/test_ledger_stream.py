"""The record stream over real gRPC: what is durable, in order, through all epochs, and nothing else."""

from __future__ import annotations

import asyncio
import stat
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from authz._pb.aegis.v1 import ledger_pb2 as pb
from authz._pb.aegis.v1.ledger_pb2_grpc import LedgerStub
from authz.config import Settings
from authz.errors import ConfigError
from authz.followers import stream
from authz.followers.bell import Bell
from authz.followers.stream import RecordStream, StreamServer
from authz.ledger import keys, merkle, notes
from tests import ledgers
from tests.exporting import durable, everything
from tests.wire.serving import until
from tests.workers import Worker, decision

Code = grpc.StatusCode
# What a client's own gRPC takes before the client reads; by default it grows to some megabytes.
SMALL_WINDOW = [("grpc.http2.lookahead_bytes", 65_536), ("grpc.http2.bdp_probe", 0)]


class Served:
    def __init__(self, worker: Worker, service: RecordStream, bell: Bell, stub: Any) -> None:
        self.worker, self.service, self.bell, self.stub = worker, service, bell, stub

    def entries(self, log: str = "", seq: int = 0, *, follow: bool = False, worker: str = "worker-0") -> Any:
        start = {"from": pb.Position(log=log, seq=seq)} if log else {}
        return self.stub.StreamEntries(pb.StreamEntriesRequest(worker=worker, follow=follow, **start))

    async def read(self, *args: Any, **kwargs: Any) -> list[pb.Entry]:
        return [entry async for entry in self.entries(*args, **kwargs)]

    def seal(self) -> None:
        self.worker.seal()
        self.bell.ring()


def settings_of(worker: Worker, **follower: Any) -> Settings:
    return Settings(deployment="aegis.test", state=worker.state, follower=follower, development=True)


@asynccontextmanager
async def serving(
    worker: Worker, tracers: TracerProvider | None = None, **follower: Any
) -> AsyncIterator[Served]:
    bell, stop = Bell(), asyncio.Event()
    service = RecordStream(durable(worker), bell, stop)
    settings = settings_of(worker, **follower)
    server = StreamServer(settings, service, tracers)
    await server.start()
    running = asyncio.create_task(server.run(stop))
    address = settings.follower.stream
    target = f"127.0.0.1:{server.port}" if server.port else f"unix:{worker.state / address[5:]}"
    try:
        async with grpc.aio.insecure_channel(target, SMALL_WINDOW) as channel:
            yield Served(worker, service, bell, LedgerStub(channel))
    finally:
        stop.set()
        await asyncio.wait_for(running, 30)


async def status(call: Any) -> tuple[grpc.StatusCode, str]:
    """How a call ends that has to fail."""
    code = await call.code()
    assert code is not Code.OK
    return code, await call.details()


@pytest.fixture
async def filled(worker: Worker) -> Worker:
    """Two epochs of six entries, both sealed."""
    for epoch in range(2):
        async with worker.running() as ledger:
            for number in range(4):
                await ledger.append("decision", decision(10 * epoch + number))
        worker.seal()
    return worker


async def test_all_entries_of_all_epochs_come_in_order_as_they_are_stored(filled: Worker) -> None:
    async with serving(filled) as served:
        found = await served.read()
    assert [(entry.log, entry.seq) for entry in found] == everything(filled)
    assert [entry.entry for entry in found] == [
        entry for epoch in filled.epochs for entry in ledgers.read(epoch)
    ]
    assert all(entry.hash == merkle.leaf_hash(entry.entry) for entry in found)


@pytest.mark.parametrize("start", range(12))
async def test_a_stream_begins_at_any_position_and_goes_on_into_later_epochs(
    filled: Worker, start: int
) -> None:
    log, seq = everything(filled)[start]
    async with serving(filled) as served:
        found = await served.read(log, seq)
    assert [(entry.log, entry.seq) for entry in found] == everything(filled)[start:]


async def test_behind_the_last_entry_of_an_epoch_the_next_one_begins(filled: Worker) -> None:
    first = f"aegis.test/worker-0/{filled.epochs[0].name}"
    async with serving(filled) as served:
        found = await served.read(first, 6)
    assert [(entry.log, entry.seq) for entry in found] == everything(filled)[6:]


async def test_what_is_not_sealed_is_not_sent_and_follows_once_it_is(worker: Worker) -> None:
    async with serving(worker) as served, worker.running() as ledger:
        await ledger.append("decision", decision(1))
        served.seal()
        call = served.entries(follow=True)
        assert [(await call.read()).seq for _ in range(2)] == [0, 1]
        await ledger.append("decision", decision(2))
        waiting = asyncio.ensure_future(call.read())
        served.bell.ring()
        assert [entry.seq for entry in await served.read()] == [0, 1]
        assert not waiting.done()
        served.seal()
        assert (await asyncio.wait_for(waiting, 10)).seq == 2
        call.cancel()
        await until(lambda: served.service.clients == 0)


async def test_following_goes_on_into_a_new_epoch(worker: Worker) -> None:
    async with serving(worker) as served:
        found: list[tuple[str, int]] = []

        async def follow() -> None:
            async for entry in served.entries(follow=True):
                found.append((entry.log, entry.seq))

        async with worker.running() as ledger:
            await ledger.append("decision", decision(1))
            served.seal()
            following = asyncio.create_task(follow())
        async with worker.running() as ledger:
            await ledger.append("decision", decision(2))
            served.seal()
            await until(lambda: len(found) == 5)
        served.seal()
        await until(lambda: found == everything(worker))
        following.cancel()


async def test_an_epoch_that_was_cut_short_is_followed_by_the_one_that_says_so(worker: Worker) -> None:
    """The machine stopped: what recovery found in the old log comes first, then the `gap`."""
    async with worker.doomed() as ledger:
        await ledger.append("decision", decision(1))
        worker.seal()
        await ledger.append("decision", decision(2))
    async with worker.running(boot_id=lambda: "another boot"):
        worker.seal()
        async with serving(worker) as served:
            found = await served.read()
    assert [(entry.log, entry.seq) for entry in found][:5] == everything(worker)[:5]
    assert b'"kind":"gap"' in found[4].entry


async def test_a_client_that_does_not_read_costs_no_more_than_a_batch(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker.running() as ledger:
        for number in range(1500):
            await ledger.append("decision", decision(number) | {"evidence": ["x" * 4000]})
        worker.seal()
        async with serving(worker) as served:
            arriving = aiter(served.entries())
            await anext(arriving)
            slow: list[int] = []

            def settled() -> bool:
                slow.append(served.service.sent)
                return len(slow) > 50 and slow[-1] == slow[-50]

            await until(settled)
            assert served.service.sent < 300
            rest = [entry.seq async for entry in arriving]
            assert rest == list(range(1, 1501))


async def test_a_receipt_leads_from_the_entry_to_the_signed_root(filled: Worker) -> None:
    async with serving(filled) as served:
        for log, seq in everything(filled):
            receipt = await served.stub.GetEntry(pb.GetEntryRequest(log=log, seq=seq))
            head, _, note = receipt.proof.partition(b"\n\n")
            version, index, *siblings = head.decode().split("\n")
            checkpoint = notes.parse(note)
            assert (version, index) == ("c2sp.org/tlog-proof@v1", f"index {seq}")
            assert notes.signed_by(checkpoint, keys.public_key(ledgers.LOG_SEED))
            proof = list(map(b64decode, siblings))
            leaf = merkle.leaf_hash(receipt.entry.entry)
            assert merkle.root_from_inclusion(leaf, seq, checkpoint.size, proof) == checkpoint.root
            assert (receipt.entry.log, receipt.entry.seq, receipt.entry.hash) == (log, seq, leaf)


async def test_checkpoints_come_oldest_log_first_and_then_as_they_are_signed(worker: Worker) -> None:
    async with serving(worker) as served, worker.running() as ledger:
        served.seal()
        call = served.stub.StreamCheckpoints(pb.StreamCheckpointsRequest(worker="worker-0", follow=True))
        assert (await call.read()).size == 1
        await ledger.append("decision", decision(1))
        served.seal()
        newest = await call.read()
        assert notes.parse(newest.note).size == newest.size == 2
        call.cancel()


async def test_what_is_asked_wrongly_is_said_and_nothing_else(filled: Worker) -> None:
    first = f"aegis.test/worker-0/{filled.epochs[0].name}"
    async with serving(filled) as served:
        stub = served.stub
        assert (await status(served.entries(worker="")))[0] is Code.INVALID_ARGUMENT
        assert (await status(served.entries(worker="worker-9")))[0] is Code.NOT_FOUND
        assert (await status(served.entries("aegis.test/worker-0/none")))[0] is Code.NOT_FOUND
        assert (await status(served.entries(first, 7)))[0] is Code.OUT_OF_RANGE
        assert (await status(stub.GetEntry(pb.GetEntryRequest(log=first, seq=6))))[
            0
        ] is Code.FAILED_PRECONDITION
        assert (await status(stub.GetEntry(pb.GetEntryRequest(log="../../etc"))))[0] is Code.NOT_FOUND
        call = stub.StreamCheckpoints(pb.StreamCheckpointsRequest(worker="../worker-0"))
        assert (await status(call))[0] is Code.NOT_FOUND
        await until(lambda: served.service.clients == 0)


async def test_more_streams_than_the_bound_are_refused(
    filled: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_STREAMS", 2)
    async with serving(filled) as served:
        open_ones = [served.entries(follow=True) for _ in range(2)]
        for call in open_ones:
            await call.read()
        assert (await status(served.entries()))[0] is Code.RESOURCE_EXHAUSTED
        open_ones[0].cancel()
        await until(lambda: served.service.clients == 1)
        assert len(await served.read()) == 12
        open_ones[1].cancel()


async def test_a_stored_entry_that_was_changed_is_not_sent(filled: Worker) -> None:
    filled.judged = True
    epoch = filled.epochs[0]
    ledgers.edit(epoch, lambda stored: stored.__setitem__(2, stored[2].replace(b'"allow"', b'"denyy"')))
    first = f"aegis.test/worker-0/{epoch.name}"
    async with serving(filled) as served:
        assert (await status(served.entries()))[0] is Code.DATA_LOSS
        call = served.stub.GetEntry(pb.GetEntryRequest(log=first, seq=1))
        assert await status(call) == (Code.DATA_LOSS, "stored entries are not what was signed")


async def test_the_socket_is_its_owners_alone(filled: Worker) -> None:
    async with serving(filled):
        socket = filled.state / "run" / "ledger.sock"
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600


async def test_a_directory_that_others_may_write_is_refused(filled: Worker) -> None:
    (filled.state / "run").mkdir()
    (filled.state / "run").chmod(0o777)
    with pytest.raises(ConfigError, match=r"follower\.stream: .* can be written by others"):
        async with serving(filled):
            pass


async def test_tcp_is_for_development() -> None:
    with pytest.raises(ValueError, match=r"follower\.stream on TCP needs development: true"):
        Settings(follower={"stream": "127.0.0.1:0"})


async def test_over_tcp_it_is_the_same(filled: Worker) -> None:
    async with serving(filled, stream="127.0.0.1:0") as served:
        assert len(await served.read()) == 12


async def test_calls_make_spans(filled: Worker) -> None:
    spans = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    async with serving(filled, tracers) as served:
        await served.read()
    assert [span.name for span in spans.get_finished_spans()] == ["/aegis.v1.Ledger/StreamEntries"]


def test_the_stream_s_generated_code_is_what_the_file_says(tmp_path: Path) -> None:
    import os
    import re
    import shutil
    import subprocess
    import sys

    root = Path(__file__).parents[2]
    proto = root / "proto/aegis/v1/ledger.proto"
    written = re.search(r"//\s+python (-m grpc_tools\.protoc .*)", proto.read_text())
    assert written
    shutil.copytree(root / "proto", tmp_path / "proto")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        [sys.executable, *written[1].split()],
        cwd=tmp_path, env=os.environ | {"PATH": path}, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    made = sorted((tmp_path / "authz/_pb/aegis/v1").iterdir())
    assert [file.name for file in made] == [
        "ledger_pb2.py",
        "ledger_pb2.pyi",
        "ledger_pb2_grpc.py",
        "ledger_pb2_grpc.pyi",
    ]
    for file in made:
        assert file.read_text() == (root / "authz/_pb/aegis/v1" / file.name).read_text(), file.name
