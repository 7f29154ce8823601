"""The opa engine against a real OPA: every way in which no usable answer comes is a denial by name."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from authz.errors import Denied
from authz.policy.engine import MAX_ANSWER
from authz.policy.engine_opa import OpaEngine
from authz.values import MISSING, Reason
from tests.policy.opa import ALLOW, DENY, opa_with, until, version_of
from tests.policy.scripted import http, peer

ECHO = 'decision := {"decision": "allow", "reason_code": "permitted", "rule": input.agent.id}'


async def denied(engine: OpaEngine, question: bytes = b"{}", timeout_s: float = 5.0) -> Denied:
    with pytest.raises(Denied) as caught:
        await engine.decide(question, timeout_s)
    return caught.value


async def test_an_answer_names_the_revision_that_decided(tmp_path: Path) -> None:
    version = version_of(tmp_path, ECHO)
    async with opa_with(version) as process:
        engine = OpaEngine(process.socket, "aegis/decision", connections=1)
        answer = await engine.decide(b'{"agent":{"id":"a"}}', 5)
        await engine.close()
    assert answer.result["rule"] == "a"
    assert list(answer.revisions.values()) == [version.revision]


async def test_an_undefined_decision_has_no_result(tmp_path: Path) -> None:
    async with opa_with(version_of(tmp_path, ECHO)) as process:
        engine = OpaEngine(process.socket, "aegis/decision", connections=1)
        assert (await engine.decide(b"{}", 5)).result is MISSING
        await engine.close()


async def test_a_failing_builtin_is_an_error_that_names_the_line_and_no_input_value(tmp_path: Path) -> None:
    rego = (
        DENY
        + f"decision := {ALLOW} if not blocked\n\n"
        + 'blocked if net.cidr_contains("10.0.0.0/8", input.action.tool)'
    )
    async with opa_with(version_of(tmp_path, rego)) as process:
        engine = OpaEngine(process.socket, "aegis/decision", connections=1)
        error = await denied(engine, b'{"action":{"tool":"sesame.example"}}')
        assert (await engine.decide(b'{"action":{"tool":"10.1.1.1"}}', 5)).result["decision"] == "deny"
        await engine.close()
    assert error.reason is Reason.POLICY_ERROR
    assert "eval_builtin_error" in error.detail
    assert "decision.rego:7" in error.detail
    assert "sesame" not in str(error)


async def test_no_opa_is_unavailable(tmp_path: Path) -> None:
    engine = OpaEngine(tmp_path / "nobody.sock", "aegis/decision", connections=1)
    assert (await denied(engine)).reason is Reason.ENGINE_UNAVAILABLE


async def test_an_opa_that_hangs_is_a_timeout_and_its_late_answer_reaches_nobody(tmp_path: Path) -> None:
    async with opa_with(version_of(tmp_path, ECHO)) as process:
        engine = OpaEngine(process.socket, "aegis/decision", connections=1)
        await engine.decide(b'{"agent":{"id":"first"}}', 5)
        await process.pause()
        error = await denied(engine, b'{"agent":{"id":"slow"}}', 0.05)
        process.go_on()
        answer = await engine.decide(b'{"agent":{"id":"next"}}', 5)
        await engine.close()
    assert error.reason is Reason.ENGINE_TIMEOUT
    assert answer.result["rule"] == "next"


async def test_a_cancelled_question_leaves_no_answer_for_the_next_one(tmp_path: Path) -> None:
    async with opa_with(version_of(tmp_path, ECHO)) as process:
        engine = OpaEngine(process.socket, "aegis/decision", connections=1)
        await engine.decide(b'{"agent":{"id":"first"}}', 5)
        await process.pause()
        left = asyncio.create_task(engine.decide(b'{"agent":{"id":"left"}}', 5))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        process.go_on()
        answers = await asyncio.gather(*(engine.decide(b'{"agent":{"id":"%d"}}' % n, 5) for n in range(20)))
        await engine.close()
    assert [answer.result["rule"] for answer in answers] == [str(n) for n in range(20)]


async def test_a_restarted_opa_is_asked_again_over_a_new_connection(tmp_path: Path) -> None:
    version = version_of(tmp_path, ECHO)
    async with opa_with(version) as process:
        engine = OpaEngine(process.socket, "aegis/decision", connections=3)
        await asyncio.gather(*(engine.decide(b"{}", 5) for _ in range(3)))
        await process.stop()
        assert (await denied(engine)).reason is Reason.ENGINE_UNAVAILABLE
        await process.start()
        answers = await asyncio.gather(*(engine.decide(b'{"agent":{"id":"x"}}', 5) for _ in range(9)))
        await engine.close()
    assert {answer.result["rule"] for answer in answers} == {"x"}


async def test_an_idle_connection_that_the_server_closed_is_replaced_once() -> None:
    async def answer(target: str, body: bytes) -> bytes:
        return b"" if served.asked == 2 else http({"result": served.asked})

    async with peer(answer) as served:
        engine = OpaEngine(served.socket, "aegis/decision", connections=1)
        assert (await engine.decide(b"{}", 5)).result == 1
        assert (await engine.decide(b"{}", 5)).result == 3  # the second never got an answer's first byte
        await engine.close()
    assert served.connections == 2


async def test_a_fresh_connection_that_closes_unanswered_is_not_tried_again() -> None:
    async def answer(target: str, body: bytes) -> bytes:
        return b""

    async with peer(answer) as served:
        engine = OpaEngine(served.socket, "aegis/decision", connections=1)
        error = await denied(engine)
        await engine.close()
    assert (error.reason, served.asked) == (Reason.ENGINE_UNAVAILABLE, 1)


async def test_an_answer_cut_half_way_is_not_asked_again() -> None:
    async def answer(target: str, body: bytes) -> bytes:
        return http({"result": 1}) if served.asked == 1 else b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"

    async with peer(answer) as served:
        engine = OpaEngine(served.socket, "aegis/decision", connections=1)
        await engine.decide(b"{}", 5)
        error = await denied(engine)
        await engine.close()
    assert (error.reason, served.asked) == (Reason.ENGINE_UNAVAILABLE, 2)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http(b"not json"), Reason.POLICY_ERROR),
        (http([1]), Reason.POLICY_ERROR),
        (http({"code": "internal_error"}, 500), Reason.POLICY_ERROR),
        (http(b"<html>", 500), Reason.POLICY_ERROR),
        (http({}, 404), Reason.ENGINE_UNAVAILABLE),
        (http({}, 503), Reason.ENGINE_UNAVAILABLE),
        (b"SSH-2.0-x\r\n\r\n", Reason.ENGINE_UNAVAILABLE),
        (http(b" " * (MAX_ANSWER + 1)), Reason.POLICY_ERROR),
    ],
    ids=["text", "array", "500", "500-html", "404", "503", "not-http", "huge"],
)
async def test_an_answer_of_another_form_denies(answer: bytes, reason: Reason) -> None:
    async def give(target: str, body: bytes) -> bytes:
        return answer

    async with peer(give) as served:
        engine = OpaEngine(served.socket, "aegis/decision", connections=1)
        assert (await denied(engine)).reason is reason
        await engine.close()


async def test_more_questions_than_connections_wait_their_turn_and_none_is_lost() -> None:
    at_once = most = 0

    async def answer(target: str, body: bytes) -> bytes:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return http({"result": body.decode()})

    async with peer(answer) as served:
        engine = OpaEngine(served.socket, "aegis/decision", connections=3)
        answers = await asyncio.gather(*(engine.decide(b"%d" % n, 5) for n in range(50)))
        await engine.close()
    assert [answer.result for answer in answers] == [f'{{"input":{n}}}' for n in range(50)]
    assert served.connections <= 3
    assert most > 1


async def test_who_looks_for_the_version_does_not_wait_behind_questions() -> None:
    never = asyncio.Event()

    async def answer(target: str, body: bytes) -> bytes:
        if body:
            await never.wait()
        return http({"result": target})

    async with peer(answer) as served:
        engine = OpaEngine(served.socket, "aegis/decision", connections=2)
        asking = [asyncio.create_task(engine.decide(b"{}", 30)) for _ in range(5)]
        while served.asked < 2:
            await asyncio.sleep(0.01)
        assert await engine.get("/v1/data/system/bundles", 5) == {"result": "/v1/data/system/bundles"}
        assert not any(task.done() for task in asking)
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
        await engine.close()
        never.set()


async def test_who_waits_is_served_before_who_comes_later() -> None:
    async def answer(target: str, body: bytes) -> bytes:
        return http({"result": body.decode()})

    async with peer(answer) as served:
        engine = OpaEngine(served.socket, "aegis/decision", connections=1)
        order: list[str] = []

        async def ask(*names: str) -> None:
            for name in names:  # the second at the moment when the first gives its connection back
                await engine.decide(f'"{name}"'.encode(), 5)
                order.append(name)

        await asyncio.gather(ask("a", "late"), ask("b"), ask("c"))
        await engine.close()
    assert order == ["a", "b", "c", "late"]


async def test_waiting_for_a_connection_ends_with_the_deadline_and_frees_the_place() -> None:
    go_on = asyncio.Event()

    async def answer(target: str, body: bytes) -> bytes:
        await go_on.wait()
        return http({"result": 1})

    async with peer(answer) as served:
        engine = OpaEngine(served.socket, "aegis/decision", connections=1)
        first = asyncio.create_task(engine.decide(b"{}", 5))
        await until(lambda: served.asked == 1)
        assert (await denied(engine, timeout_s=0.02)).reason is Reason.ENGINE_TIMEOUT
        go_on.set()
        assert (await first).result == 1
        assert (await engine.decide(b"{}", 5)).result == 1
        await engine.close()


async def test_a_server_that_wants_to_close_is_left(tmp_path: Path) -> None:
    async def answer(target: str, body: bytes) -> bytes:
        return http({"result": served.connections}, headers="Connection: close\r\n")

    async with peer(answer) as served:
        engine = OpaEngine(served.socket, "aegis/decision", connections=1)
        assert [(await engine.decide(b"{}", 5)).result for _ in range(3)] == [1, 2, 3]
        await engine.close()
