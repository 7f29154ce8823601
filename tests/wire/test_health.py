"""Health as load balancers ask for it: not serving first, and only then stopping."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz.wire.server import SERVICE
from tests.wire.serving import TRANSPORTS, State, serving, until
from tests.worker import message

NAMES = ("", SERVICE)


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("name", NAMES)
async def test_a_worker_says_not_serving_until_it_is_told_to(
    tmp_path: Path, transport: str, name: str
) -> None:
    async with serving(tmp_path, transport) as served:
        assert await served.health(name) == State.NOT_SERVING
        for serving_, state in ((True, State.SERVING), (False, State.NOT_SERVING), (True, State.SERVING)):
            served.server.set_serving(serving_)
            served.server.set_serving(serving_)

            async def says(state: int = state) -> bool:
                return await served.health(name) == state

            await until(says)


async def test_the_last_word_counts(tmp_path: Path, transport: str) -> None:
    async with serving(tmp_path, transport) as served:
        for serving_ in (True, False, True, False):
            served.server.set_serving(serving_)
        await served.check(message())
        assert [await served.health(name) for name in NAMES] == [State.NOT_SERVING] * 2


async def test_a_service_that_is_not_here_is_not_found(tmp_path: Path, transport: str) -> None:
    async with serving(tmp_path, transport) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.health("grpc.reflection.v1.ServerReflection")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_worker_that_stops_says_so_while_it_still_answers(tmp_path: Path, transport: str) -> None:
    async with serving(tmp_path, transport, listen={"drain_s": 0.5}) as served:
        served.server.set_serving(True)

        async def serves() -> bool:
            return await served.health() == State.SERVING

        await until(serves)
        stopping = asyncio.create_task(served.server.stop())

        async def says() -> bool:
            return await served.health() == State.NOT_SERVING

        await until(says)
        assert (await served.check(message())).status.code == 0
        assert not stopping.done()
        await stopping
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.check(message(), timeout=0.3)
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_what_is_under_way_is_answered_before_the_end(tmp_path: Path, transport: str) -> None:
    async with serving(tmp_path, transport) as served:
        served.pipeline.open.clear()
        under_way = asyncio.create_task(served.check(message()))
        await until(lambda: served.service.waiting == 1)
        stopping = asyncio.create_task(served.server.stop())
        async with grpc.aio.insecure_channel(f"unix:{tmp_path / 'run/check.sock'}") as late:
            call = late.unary_unary(f"/{SERVICE}/Check")
            await until(lambda: refused(call))
        served.pipeline.open.set()
        assert (await under_way).status.code == 0
        await stopping


async def test_who_watches_is_told_each_change(tmp_path: Path, transport: str) -> None:
    async with serving(tmp_path, transport) as served:
        stub = health_pb2_grpc.HealthStub(served.channel)
        watching = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watching.read()).status == State.NOT_SERVING
        for serving_, state in ((True, State.SERVING), (False, State.NOT_SERVING)):
            served.server.set_serving(serving_)
            assert (await watching.read()).status == state
        other = stub.Watch(health_pb2.HealthCheckRequest(service="none"))
        assert (await other.read()).status == State.SERVICE_UNKNOWN
        watching.cancel()
        other.cancel()


async def refused(call: grpc.aio.UnaryUnaryMultiCallable) -> bool:
    """Whether nobody takes new calls any more; one that is taken would wait for ever."""
    try:
        await call(message().SerializeToString(), timeout=0.2)
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return False
