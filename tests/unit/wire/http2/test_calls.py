"""gRPC over our HTTP/2: which calls are answered, with which status, and what ends them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from authz.wire.http2 import calls, frames
from authz.wire.http2.calls import Calls, HttpCall, Refused, Send, Status, framed
from authz.wire.http2.frames import Code
from tests.wire.http2.peer import GRPC, REQUEST, Peer, data

METHOD = "/s/Method"
WATCH = "/s/Watch"


class Service:
    """Answers with what it is sent; can be held, or made to fail."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.held = asyncio.Event()
        self.held.set()
        self.asked: list[tuple[bytes, HttpCall]] = []
        self.cancelled = 0

    async def method(self, message: bytes, call: HttpCall) -> bytes:
        self.asked.append((message, call))
        try:
            await self.held.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fault:
            raise self.fault
        return message

    async def watch(self, message: bytes, send: Send) -> None:
        send(b"first")
        await self.method(message, None)  # type: ignore[arg-type]
        send(b"second")


@pytest.fixture
async def service() -> Service:
    return Service()


@pytest.fixture
async def peer(service: Service) -> Peer:
    made = Calls({METHOD: service.method}, {WATCH: service.watch}, largest=100_000, streams=10)
    return Peer(made)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def headers(**changed: str) -> list[tuple[str, str]]:
    names = {"path": ":path", "method": ":method", "content_type": "content-type"}
    return [
        (name, {names[key]: value for key, value in changed.items()}.get(name, value)) for name, value in GRPC
    ]


async def test_a_message_is_answered_with_a_message(peer: Peer, service: Service) -> None:
    peer.ask(1, framed(b"question"), [*GRPC, ("traceparent", "00-ab"), ("grpc-timeout", "3S")])
    await turn()
    head, body, trailers = peer.said(1)
    assert (head, body, trailers) == (
        {":status": "200", "content-type": "application/grpc"},
        framed(b"question"),
        {"grpc-status": "0"},
    )
    ((message, call),) = service.asked
    left = call.time_left()
    assert (message, call.traceparent(), call.peer()) == (b"question", "00-ab", b"")
    assert left is not None
    assert 0 < left <= 3


async def test_time_runs_while_the_message_is_on_its_way(peer: Peer, service: Service) -> None:
    peer.send(peer.head(1, [*GRPC, ("grpc-timeout", "3S")]))
    await asyncio.sleep(0.1)
    peer.send(data(1, framed(b""), last=True))
    await turn()
    left = service.asked[0][1].time_left()
    assert left is not None
    assert left <= 2.9


async def test_who_waits_for_ever_has_no_time(peer: Peer, service: Service) -> None:
    peer.ask(1, framed(b""))
    await turn()
    assert service.asked[0][1].time_left() is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", Status.INTERNAL),
        (b"\x00\x00\x00\x00", Status.INTERNAL),
        (framed(b"x")[:-1], Status.INTERNAL),
        (framed(b"x") + b"y", Status.INTERNAL),
        (framed(b"x") + framed(b"y"), Status.INTERNAL),
        (b"\x01" + framed(b"x")[1:], Status.UNIMPLEMENTED),
    ],
)
async def test_what_is_not_one_plain_message_is_refused(
    peer: Peer, service: Service, body: bytes, status: Status
) -> None:
    peer.ask(1, body)
    await turn()
    _, answer, trailers = peer.said(1)
    assert (answer, trailers["grpc-status"]) == (b"", str(int(status)))
    assert service.asked == []


async def test_a_message_that_is_too_large_is_refused_before_it_is_there(
    peer: Peer, service: Service
) -> None:
    peer.send(peer.head(1) + data(1, framed(bytes(100_001))[:20_000]))
    _, _, trailers = peer.said(1)
    assert trailers["grpc-status"] == str(int(Status.RESOURCE_EXHAUSTED))
    assert service.asked == []
    peer.ask(3, framed(bytes(100_000)))
    await turn()
    assert len(service.asked) == 1


@pytest.mark.parametrize("cut", range(1, 6))
async def test_its_size_may_come_in_parts(peer: Peer, cut: int) -> None:
    """Else it would wait for ever: the rest is more than the window that we open."""
    message = framed(bytes(100_001))
    peer.send(peer.head(1) + data(1, message[:cut]) + data(1, message[cut:100]))
    assert peer.said(1)[2]["grpc-status"] == str(int(Status.RESOURCE_EXHAUSTED))


@pytest.mark.parametrize(
    ("changed", "status"),
    [({"method": "GET"}, "405"), ({"content_type": "text/plain"}, "415")],
)
async def test_what_is_not_grpc_is_told_so(
    peer: Peer, service: Service, changed: dict[str, str], status: str
) -> None:
    peer.send(peer.head(1, headers(**changed)) + data(1, b"", last=True))
    (answer,) = [each for each in peer.taken() if each.kind == frames.HEADERS]
    assert dict(peer.decoder.decode(answer.payload))[":status"] == status
    assert answer.flags & frames.END_STREAM
    assert service.asked == []


async def test_a_method_that_is_not_here_is_unimplemented(peer: Peer) -> None:
    peer.ask(1, framed(b""), headers(path="/s/None"))
    assert peer.said(1)[2]["grpc-status"] == str(int(Status.UNIMPLEMENTED))


async def test_a_refusal_has_its_status_and_its_words(peer: Peer, service: Service) -> None:
    service.fault = Refused(Status.PERMISSION_DENIED, "not the pinned\nEnvoy: 100%")
    peer.ask(1, framed(b""))
    await turn()
    _, _, trailers = peer.said(1)
    assert trailers["grpc-status"] == "7"
    assert trailers["grpc-message"] == "not the pinned%0AEnvoy: 100%25"


async def test_a_fault_of_ours_says_nothing_of_itself(peer: Peer, service: Service) -> None:
    service.fault = ValueError("secret")
    peer.ask(1, framed(b""))
    await turn()
    _, _, trailers = peer.said(1)
    assert trailers == {":status": "200", "content-type": "application/grpc", "grpc-status": "13"}


async def test_a_stream_of_answers_comes_as_it_is_made(peer: Peer, service: Service) -> None:
    service.held.clear()
    peer.ask(1, framed(b"x"), headers(path=WATCH))
    await turn()
    first = [each for each in peer.taken() if each.stream == 1]
    assert [each.kind for each in first] == [frames.HEADERS, frames.DATA]
    assert first[1].payload == framed(b"first")
    service.held.set()
    await turn()
    second = [each for each in peer.taken() if each.stream == 1]
    assert [each.kind for each in second] == [frames.DATA, frames.HEADERS]
    assert second[1].flags & frames.END_STREAM


async def test_who_leaves_cancels_the_call(peer: Peer, service: Service) -> None:
    service.held.clear()
    peer.ask(1, framed(b"x"))
    peer.ask(3, framed(b"x"), headers(path=WATCH))
    await turn()
    for number in (1, 3):
        peer.send(frames.reset(number, Code.CANCEL))
    await turn()
    assert service.cancelled == 2


async def test_who_leaves_in_the_bytes_that_it_came_with_was_heard(peer: Peer, service: Service) -> None:
    service.held.clear()
    peer.send(peer.head(1) + data(1, framed(b"x"), last=True) + frames.reset(1, Code.CANCEL))
    await turn()
    assert (len(service.asked), service.cancelled) == (1, 1)


async def test_at_the_end_what_is_under_way_is_answered_and_no_connection_stays(
    service: Service,
) -> None:
    made = Calls({METHOD: service.method}, {}, largest=1000, streams=10)
    peer, idle = Peer(made), Peer(made)
    service.held.clear()
    peer.ask(1, framed(b"x"))
    await turn()
    finishing = asyncio.create_task(made.finish(5.0))
    await turn()
    for each in (peer, idle):
        ping = next(frame for frame in each.taken() if frame.kind == frames.PING)
        each.send(frames.frame(frames.PING, frames.ACK, 0, ping.payload))
    service.held.set()
    await turn()
    for each in (peer, idle):
        assert each.wire.closed
        each.connection.connection_lost(None)
    await finishing
    assert [frame.kind for frame in peer.taken() if frame.stream == 1] == [
        frames.HEADERS,
        frames.DATA,
        frames.HEADERS,
    ]
    assert made.connections == set()


async def test_a_connection_that_comes_at_the_end_is_ended(service: Service) -> None:
    made = Calls({METHOD: service.method}, {}, largest=1000, streams=10)
    await made.finish(5.0)
    late = Peer(made)
    await turn()
    assert (late.wire.aborted, made.connections) == (True, set())


async def test_what_does_not_end_in_time_is_ended(service: Service) -> None:
    made = Calls({METHOD: service.method}, {}, largest=1000, streams=10)
    peer = Peer(made)
    service.held.clear()
    peer.ask(1, framed(b"x"))
    await turn()
    await made.finish(0.05)
    assert (peer.wire.aborted, service.cancelled, made.connections) == (True, 1, set())


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 400, 20_000])
def test_a_header_of_any_length_can_be_read(size: int) -> None:
    from hpack import Decoder

    value = "v" * size
    found: list[Any] = list(
        Decoder(max_header_list_size=1 << 20).decode(calls._literal(b"x", value.encode()))
    )
    assert found == [("x", value)]


def test_a_request_is_what_peers_send() -> None:
    assert GRPC[: len(REQUEST)] == REQUEST
