"""Check over a real gRPC connection: answers, deadlines, overload; nothing of ours becomes a gRPC error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from authz.errors import EvidenceUnavailable
from authz.values import Malformed, Reason, Request
from authz.wire.server import ENVELOPE, SERVICE
from tests.wire.serving import TCP, TRANSPORTS, Served, serving, until
from tests.worker import message

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(
    params=[(place, transport) for place in ("unix", "tcp") for transport in TRANSPORTS], ids="-".join
)
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    place, transport = request.param
    async with serving(tmp_path, transport, **(TCP if place == "tcp" else {})) as made:
        yield made


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def reason(response: Any) -> str:
    assert response.status.code != 0
    assert response.WhichOneof("http_response") == "denied_response"
    return str(json.loads(response.denied_response.body)["reason_code"])


async def test_a_request_is_asked_about_and_allowed(served: Served) -> None:
    response = await served.check(message(path="/v1/things"), traceparent=PARENT)
    assert (response.status.code, response.WhichOneof("http_response")) == (0, "ok_response")
    (asked, _), *others = served.pipeline.asked
    assert isinstance(asked, Request)
    assert (asked.path, asked.trace_id, asked.parent_span_id, others) == (
        "/v1/things",
        PARENT[3:35],
        PARENT[36:52],
        [],
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\xff" * 100,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x0b" * 3000,
        message().SerializeToString()[:-9],
        message().SerializeToString().replace(b"api.example", b"api\xffexample"),
        message(headers={f"h{number}": "v" for number in range(5000)}).SerializeToString(),
        message(path="/" + "a" * 500_000).SerializeToString(),
        message(path="/a/%2fb").SerializeToString(),
    ],
    ids="empty NUL garbage text groups truncated not-UTF-8 header-flood huge-path encoded-slash".split(),
)
async def test_what_cannot_be_read_is_a_denial_and_no_grpc_error(served: Served, data: bytes) -> None:
    response = await served.send(data)
    assert reason(response).startswith("malformed_")
    assert response.denied_response.status.code == 400
    assert isinstance(served.pipeline.asked[0][0], Malformed)


async def test_an_unknown_any_is_no_reason_to_deny(served: Served) -> None:
    request = message()
    some = request.attributes.metadata_context.typed_filter_metadata["x"]
    some.type_url, some.value = "type.googleapis.com/nobody.knows.This", b"\xff\x00"
    assert (await served.check(request)).status.code == 0


async def test_the_pipeline_is_told_the_callers_deadline(served: Served) -> None:
    await served.check(message(), timeout=3.0)
    assert 0 < served.pipeline.asked[0][1] < 3.2  # gRPC rounds upwards on its way


async def test_without_a_deadline_there_is_no_end(served: Served) -> None:
    await served.check(message(), timeout=None)
    assert served.pipeline.asked[0][1] == float("inf")


async def test_when_the_deadline_passes_the_place_is_given_back(served: Served) -> None:
    served.pipeline.open.clear()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.check(message(), timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: served.service.waiting == 0)
    assert served.pipeline.cancelled == 1


async def test_when_the_caller_leaves_the_place_is_given_back(served: Served) -> None:
    served.pipeline.open.clear()
    task = asyncio.create_task(served.check(message()))
    await until(lambda: served.service.waiting == 1)
    task.cancel()
    await until(lambda: served.service.waiting == 0)
    assert served.pipeline.cancelled == 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (EvidenceUnavailable("disk full"), Reason.EVIDENCE_UNAVAILABLE),
        (ZeroDivisionError("secret"), Reason.INTERNAL_ERROR),
    ],
)
async def test_a_fault_of_ours_is_a_denial_and_no_grpc_error(
    tmp_path: Path, transport: str, fault: Exception, expected: Reason
) -> None:
    async with serving(tmp_path, transport, fault) as served:
        response = await served.check(message())
        assert (reason(response), response.denied_response.status.code) == (expected, 503)
        assert b"secret" not in response.SerializeToString()


async def test_in_a_crowd_everybody_is_decided_or_refused_and_no_source_takes_all(
    tmp_path: Path, transport: str
) -> None:
    listen = {"waiting": 6, "source_share": 0.5, "drain_s": 0}
    async with serving(tmp_path, transport, listen=listen) as served:
        served.pipeline.open.clear()
        greedy = [asyncio.create_task(served.check(message())) for _ in range(30)]
        await until(lambda: sum(task.done() for task in greedy) == 27)
        other = message()
        other.attributes.source.address.socket_address.address = "10.9.9.9"
        patient = asyncio.create_task(served.check(other))
        await until(lambda: served.service.waiting == 4)
        served.pipeline.open.set()
        assert (await patient).status.code == 0
        answers = [await task for task in greedy]
        refused = [answer for answer in answers if answer.status.code != 0]
        assert {reason(answer) for answer in refused} == {Reason.OVERLOADED}
        assert served.scripted.refusals.seen == [(Reason.OVERLOADED, "10.0.0.7")] * 27
        counted = served.scripted.metrics.refusals
        assert {reason: count for reason, count in counted.items() if count} == {Reason.OVERLOADED: 27}


async def test_what_is_larger_than_anything_allowed_is_an_error_and_envoy_denies(
    tmp_path: Path, transport: str
) -> None:
    limits = {"body_bytes": 1000, "header_bytes": 1000, "path_bytes": 1000}
    async with serving(tmp_path, transport, limits=limits) as served:
        response = await served.check(message(body=b"x" * (ENVELOPE - 1000)))
        assert reason(response) == Reason.BODY_TOO_LARGE
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.check(message(body=b"x" * (ENVELOPE + 3000)))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(served.pipeline.asked) == 1


@pytest.mark.parametrize("method", [f"/{SERVICE}/Allow", "/envoy.service.auth.v2.Authorization/Check"])
async def test_what_we_do_not_offer_is_unimplemented(served: Served, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.channel.unary_unary(method)(message().SerializeToString(), timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert served.pipeline.asked == []
