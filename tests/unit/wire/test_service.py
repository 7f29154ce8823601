"""One call from bytes to bytes: who may wait, and what is answered when something is wrong."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest
from structlog.testing import capture_logs

from authz._pb.aegis_ext_authz_pb2 import CheckRequest, CheckResponse
from authz.errors import EvidenceUnavailable
from authz.values import Malformed, Reason, Request
from tests.wire.scripted import Loop, Scripted
from tests.worker import Call, message


def asking(source: str = "10.0.0.7", **http: Any) -> bytes:
    request: CheckRequest = message(**http)
    request.attributes.source.address.socket_address.address = source
    return request.SerializeToString()


async def answer(scripted: Scripted, data: bytes | None = None, call: Call | None = None) -> CheckResponse:
    made = await scripted.service.handle(asking() if data is None else data, call or Call())
    return CheckResponse.FromString(made)


def reason(response: CheckResponse) -> str:
    assert response.status.code != 0
    assert response.WhichOneof("http_response") == "denied_response"
    return str(json.loads(response.denied_response.body)["reason_code"])


async def until_waiting(scripted: Scripted, count: int) -> None:
    while scripted.service.waiting != count:
        await asyncio.sleep(0)


async def test_what_the_pipeline_allows_is_allowed() -> None:
    scripted = Scripted()
    response = await answer(scripted)
    assert (response.status.code, response.WhichOneof("http_response")) == (0, "ok_response")
    assert response.dynamic_metadata.fields["decision_id"].string_value == "decision-1"
    assert scripted.refusals.seen == []


async def test_what_cannot_be_read_is_decided_too() -> None:
    scripted = Scripted()
    response = await answer(scripted, b"\xff")
    assert reason(response) == Reason.MALFORMED_REQUEST
    assert response.denied_response.status.code == 400
    assert isinstance(scripted.pipeline.asked[0][0], Malformed)


async def test_the_settings_limits_are_those_of_reading() -> None:
    scripted = Scripted(limits={"path_bytes": 10})
    assert reason(await answer(scripted, asking(path="/" + "a" * 10))) == Reason.MALFORMED_PATH


@pytest.mark.parametrize(("left", "told"), [(None, math.inf), (0.25, 0.25)])
async def test_the_pipeline_knows_how_long_somebody_waits(left: float | None, told: float) -> None:
    scripted = Scripted()
    await answer(scripted, call=Call(time_left=left))
    assert scripted.pipeline.asked[0][1] == told


async def test_the_calls_own_span_is_the_parent() -> None:
    scripted = Scripted()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await answer(scripted, call=Call(traceparent=parent))
    request = scripted.pipeline.asked[0][0]
    assert (request.trace_id, request.parent_span_id, request.sampled) == (parent[3:35], parent[36:52], True)


@pytest.mark.parametrize("left", [0.0, -3.0])
async def test_whom_nobody_waits_for_is_refused_without_asking(left: float) -> None:
    scripted = Scripted()
    assert reason(await answer(scripted, call=Call(time_left=left))) == Reason.OVERLOADED
    assert scripted.pipeline.asked == []
    assert scripted.refusals.seen == [(Reason.OVERLOADED, "10.0.0.7")]
    counted = {reason: count for reason, count in scripted.metrics.refusals.items() if count}
    assert counted == {Reason.OVERLOADED: 1}


async def test_without_a_record_there_is_no_allow() -> None:
    scripted = Scripted(EvidenceUnavailable("disk full at /secret/place"))
    response = await answer(scripted)
    assert reason(response) == Reason.EVIDENCE_UNAVAILABLE
    assert response.denied_response.status.code == 503
    assert b"secret" not in response.SerializeToString()
    assert scripted.refusals.seen == [(Reason.EVIDENCE_UNAVAILABLE, "10.0.0.7")]
    assert scripted.service.waiting == 0


async def test_a_fault_of_ours_is_a_refusal_and_logged_by_its_type() -> None:
    scripted = Scripted(KeyError("secret"))
    with capture_logs() as logs:
        response = await answer(scripted)
    assert reason(response) == Reason.INTERNAL_ERROR
    assert b"secret" not in response.SerializeToString()
    assert [(entry["event"], entry["error"]) for entry in logs] == [("check_failed", "KeyError")]
    assert scripted.service.waiting == 0


async def test_a_fault_of_the_transport_is_a_refusal() -> None:
    class Broken(Call):
        def time_left(self) -> float | None:
            raise RuntimeError

    scripted = Scripted()
    with capture_logs():
        assert reason(await answer(scripted, call=Broken())) == Reason.INTERNAL_ERROR
    assert scripted.refusals.seen == [(Reason.INTERNAL_ERROR, "unknown")]


async def test_beyond_the_bound_is_refused_at_once_and_whoever_waits_is_answered() -> None:
    scripted = Scripted(listen={"waiting": 4, "source_share": 1})
    scripted.pipeline.open.clear()
    waiting = [asyncio.create_task(answer(scripted, asking(f"10.0.0.{n}"))) for n in range(4)]
    await until_waiting(scripted, 4)
    response = await answer(scripted, asking("10.0.1.1"))
    assert reason(response) == Reason.OVERLOADED
    assert scripted.refusals.seen == [(Reason.OVERLOADED, "10.0.1.1")]
    scripted.pipeline.open.set()
    assert [(await task).status.code for task in waiting] == [0] * 4
    assert (await answer(scripted, asking("10.0.1.1"))).status.code == 0


async def test_one_source_cannot_take_every_place() -> None:
    scripted = Scripted(listen={"waiting": 4, "source_share": 0.5})
    scripted.pipeline.open.clear()
    greedy = [asyncio.create_task(answer(scripted, asking("10.0.0.1"))) for _ in range(10)]
    await until_waiting(scripted, 2)
    other = asyncio.create_task(answer(scripted, asking("10.0.0.2")))
    await until_waiting(scripted, 3)
    scripted.pipeline.open.set()
    assert (await other).status.code == 0
    codes = [(await task).status.code for task in greedy]
    assert (codes.count(0), scripted.refusals.seen) == (2, [(Reason.OVERLOADED, "10.0.0.1")] * 8)


async def test_one_source_cannot_take_every_place_while_calls_wait_for_each_other() -> None:
    """What arrives together is counted by source before anybody's place is taken."""
    scripted = Scripted(listen={"waiting": 32, "source_share": 0.25}, bursts=Loop(1.0).bursts(0.02))
    scripted.pipeline.open.clear()
    greedy = [asyncio.create_task(answer(scripted, asking("10.0.0.1"))) for _ in range(40)]
    other = asyncio.create_task(answer(scripted, asking("10.0.0.2")))
    await until_waiting(scripted, 8 + 1)
    scripted.pipeline.open.set()
    assert (await other).status.code == 0
    codes = [(await task).status.code for task in greedy]
    assert (codes.count(0), scripted.refusals.seen) == (8, [(Reason.OVERLOADED, "10.0.0.1")] * 32)


async def test_sources_without_an_address_share_one_place() -> None:
    scripted = Scripted(listen={"waiting": 2, "source_share": 0.5})
    scripted.pipeline.open.clear()
    first = asyncio.create_task(answer(scripted, asking("")))
    await until_waiting(scripted, 1)
    assert reason(await answer(scripted, asking(""))) == Reason.OVERLOADED
    assert scripted.refusals.seen == [(Reason.OVERLOADED, "unknown")]
    scripted.pipeline.open.set()
    await first


async def test_a_share_is_never_less_than_one_place() -> None:
    scripted = Scripted(listen={"waiting": 1, "source_share": 0.01})
    assert (await answer(scripted)).status.code == 0


async def test_a_caller_that_leaves_gives_its_place_back_and_is_not_answered() -> None:
    scripted = Scripted(listen={"waiting": 2, "source_share": 0.5})
    scripted.pipeline.open.clear()
    leaving = asyncio.create_task(answer(scripted))
    await until_waiting(scripted, 1)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert (scripted.pipeline.cancelled, scripted.service.waiting) == (1, 0)
    scripted.pipeline.open.set()
    assert (await answer(scripted)).status.code == 0
    assert scripted.refusals.seen == []


async def test_a_caller_that_leaves_while_it_waits_for_others_is_counted() -> None:
    scripted = Scripted(bursts=Loop(1.0).bursts(0.02))
    calls = [asyncio.create_task(answer(scripted, asking(f"10.0.1.{n}"))) for n in range(4)]
    await asyncio.sleep(0)
    calls[-1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls[-1]
    assert scripted.refusals.seen == [(Reason.CALLER_GONE, "unknown")]
    assert {(await task).status.code for task in calls[:-1]} == {0}


async def test_only_decisions_count_as_latency() -> None:
    scripted = Scripted()
    await answer(scripted)
    await answer(scripted, call=Call(time_left=0))
    assert {name: sum(scripted.metrics.stages[name].counts) for name in ("read", "reply", "total")} == {
        "read": 1,
        "reply": 1,
        "total": 1,
    }


async def test_denials_are_as_detailed_as_the_settings_say() -> None:
    for detail, told in (("minimal", False), ("full", True)):
        response = await answer(Scripted(reply={"denial_detail": detail}), b"\xff")
        assert ("rule" in json.loads(response.denied_response.body)) is told


@pytest.mark.parametrize("used", [True, False])
async def test_a_credential_that_we_read_is_removed(used: bool) -> None:
    scripted = Scripted(identity={"use_authorization": used})
    response = await answer(scripted, asking(headers={"authorization": "Bearer x"}))
    assert ("authorization" in response.ok_response.headers_to_remove) is used
    assert isinstance(scripted.pipeline.asked[0][0], Request)
