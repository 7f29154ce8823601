"""One connection: windows, streams that end early, what is bounded, and what no bytes can do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.wire.http2 import connection, frames
from authz.wire.http2.connection import Connection
from authz.wire.http2.frames import Code
from authz.wire.http2.heads import Head
from authz.wire.http2.sending import Sender
from authz.wire.http2.stream import Stream
from tests.wire.http2.peer import BLOCK_ENDS, GRPC, LAST, Frame, Peer, codes, data

TRAILERS = b"\x00\x0bgrpc-status\x010"


class Takes:
    """Keeps what it is given, and answers when a test says so."""

    def __init__(self, largest: int = 1 << 20, streams: int = 10) -> None:
        self.largest, self.streams = largest, streams
        self.asked: list[tuple[int, bytes]] = []
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self.there = False
        self._streams: dict[int, tuple[Connection, Stream]] = {}

    def came(self, connection: Connection) -> None:
        self.there = True

    def gone(self, connection: Connection) -> None:
        self.there = False

    def begin(self, connection: Connection, stream: Stream) -> None:
        self.begun.append(stream.number)

    def take(self, connection: Connection, stream: Stream) -> None:
        self.asked.append((stream.number, bytes(stream.body)))
        self._streams[stream.number] = connection, stream
        stream.cancel = lambda: self.cancelled.append(stream.number)

    def answer(self, number: int, body: bytes) -> None:
        found, stream = self._streams[number]
        found.answer(stream, b"\x88", body, TRAILERS)


class Echo(Takes):
    """Answers at once with what it was sent."""

    def take(self, connection: Connection, stream: Stream) -> None:
        super().take(connection, stream)
        self.answer(stream.number, bytes(stream.body))


def bodies(found: list[Frame]) -> dict[int, bytes]:
    together: dict[int, bytes] = {}
    for each in found:
        if each.kind == frames.DATA:
            together[each.stream] = together.get(each.stream, b"") + each.payload
    return together


def ended(found: list[Frame]) -> list[int]:
    return [each.stream for each in found if each.kind == frames.HEADERS and each.flags & frames.END_STREAM]


# -- requests and answers


def test_a_request_and_its_answer() -> None:
    takes = Takes()
    peer = Peer(takes)
    peer.ask(1, b"question")
    assert takes.asked == [(1, b"question")]
    takes.answer(1, b"answer")
    assert peer.said(1) == ({":status": "200"}, b"answer", {"grpc-status": "0"})
    assert peer.connection.streams == {}


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 65_535, 300_000])
def test_a_body_of_any_size_arrives_and_leaves_whole(size: int) -> None:
    takes, body = Echo(), bytes(number % 251 for number in range(size))
    peer = Peer(takes, {frames.INITIAL_WINDOW_SIZE: 1 << 20})
    peer.send(frames.window_update(0, 1 << 20))
    peer.ask(1, body)
    assert takes.asked == [(1, body)]
    assert peer.said(1)[1] == body


@given(st.lists(st.integers(1, 120), min_size=1), st.integers(0, 3))
def test_however_the_bytes_are_cut_the_same_is_answered(cuts: list[int], repeats: int) -> None:
    whole = Peer(Echo())
    story = frames.PREFACE + frames.settings({})
    for number in range(1, 3 + 2 * repeats, 2):
        story += whole.head(number) + data(number, b"x" * number, last=True)
    story += frames.frame(frames.PING, 0, 0, b"12345678") + frames.window_update(0, 7)
    cut = Peer(Echo())
    cut.connection = Connection(cut_takes := Echo())
    cut.connection.connection_made(cut.wire)
    cut.wire.written = b""
    rest, place = story, 0
    while rest:
        size = cuts[place % len(cuts)]
        cut.send(rest[:size])
        rest, place = rest[size:], place + 1
    assert [number for number, _ in cut_takes.asked] == list(range(1, 3 + 2 * repeats, 2))
    found = cut.taken()
    assert found[0] == Frame(frames.SETTINGS, frames.ACK, 0, b"")
    assert found[-1] == Frame(frames.PING, frames.ACK, 0, b"12345678")


def test_padding_and_priority_are_passed_over() -> None:
    takes = Takes()
    peer = Peer(takes)
    block = peer.encoder.encode(GRPC)
    padded = frames.PADDED | frames.WITH_PRIORITY | BLOCK_ENDS
    peer.send(frames.frame(frames.HEADERS, padded, 1, b"\x03" + b"\x00\x00\x00\x00\x10" + block + bytes(3)))
    peer.send(frames.frame(frames.DATA, frames.PADDED | frames.END_STREAM, 1, b"\x02" + b"body" + bytes(2)))
    assert takes.asked == [(1, b"body")]


def test_a_header_block_may_come_in_parts_and_trailers_may_follow() -> None:
    takes = Takes()
    peer = Peer(takes)
    block = peer.encoder.encode(GRPC)
    peer.send(frames.frame(frames.HEADERS, 0, 1, block[:5]))
    peer.send(frames.frame(frames.CONTINUATION, 0, 1, block[5:9]))
    peer.send(frames.frame(frames.CONTINUATION, BLOCK_ENDS, 1, block[9:]))
    peer.send(data(1, b"body") + peer.head(1, [("x-checked", "yes")], LAST))
    assert takes.asked == [(1, b"body")]
    assert takes.begun == [1]


# -- windows


def test_no_more_is_sent_than_the_streams_window_takes() -> None:
    takes = Takes()
    peer = Peer(takes, {frames.INITIAL_WINDOW_SIZE: 10})
    peer.ask(1)
    takes.answer(1, b"a" * 25)
    first = peer.taken()
    assert (bodies(first), ended(first)) == ({1: b"a" * 10}, [])
    peer.send(frames.window_update(1, 14))
    second = peer.taken()
    assert (bodies(second), ended(second)) == ({1: b"a" * 14}, [])
    peer.send(frames.window_update(1, 1))
    third = peer.taken()
    assert (bodies(third), ended(third)) == ({1: b"a"}, [1])
    assert peer.connection.streams == {}


def test_no_more_is_sent_than_the_connections_window_takes() -> None:
    takes = Takes()
    peer = Peer(takes, {frames.INITIAL_WINDOW_SIZE: 1 << 20})
    for number in (1, 3):
        peer.ask(number)
        takes.answer(number, bytes(40_000))
    assert {number: len(body) for number, body in bodies(peer.taken()).items()} == {1: 40_000, 3: 25_535}
    peer.send(frames.window_update(0, 100_000))
    last = peer.taken()
    assert (len(bodies(last)[3]), ended(last)) == (14_465, [3])


def test_a_window_that_shrinks_below_nothing_waits_until_it_is_open_again() -> None:
    takes = Takes()
    peer = Peer(takes, {frames.INITIAL_WINDOW_SIZE: 10})
    peer.ask(1)
    takes.answer(1, b"a" * 25)
    peer.taken()
    peer.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 2}))  # 8 less than nothing
    peer.send(frames.window_update(1, 8))
    assert bodies(peer.taken()) == {}
    peer.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 17}))
    assert bodies(peer.taken()) == {1: b"a" * 15}


def test_no_frame_is_larger_than_the_peer_takes() -> None:
    takes = Takes()
    peer = Peer(takes, {frames.INITIAL_WINDOW_SIZE: 1 << 20, frames.MAX_FRAME_SIZE: 20_000})
    peer.send(frames.window_update(0, 1 << 20))
    peer.ask(1)
    takes.answer(1, bytes(70_000))
    sizes = [len(each.payload) for each in peer.taken() if each.kind == frames.DATA]
    assert sizes == [20_000, 20_000, 20_000, 10_000]


def test_what_was_received_is_given_back() -> None:
    takes = Takes()
    peer = Peer(takes)
    for number in range(1, 401, 2):
        peer.ask(number, bytes(60_000))
        takes.answer(number, b"")
    given = sum(int.from_bytes(each.payload) for each in peer.taken() if each.kind == frames.WINDOW_UPDATE)
    assert 200 * 60_000 - connection.WINDOW // 2 < given <= 200 * 60_000
    assert len(takes.asked) == 200
    assert peer.connection._buffered == 0


# -- ends


def test_who_leaves_cancels_and_is_sent_nothing() -> None:
    takes = Takes()
    peer = Peer(takes)
    for number in (1, 3):
        peer.ask(number)
    peer.send(frames.reset(1, Code.CANCEL))
    assert takes.cancelled == [1]
    takes.answer(1, b"late")
    takes.answer(3, b"in time")
    assert bodies(peer.taken()) == {3: b"in time"}
    assert takes.cancelled == [1]


def test_a_connection_that_is_lost_cancels_everything() -> None:
    takes = Takes()
    peer = Peer(takes)
    for number in (1, 3):
        peer.ask(number)
    peer.send(peer.head(5) + data(5, b"half"))
    peer.connection.connection_lost(None)
    assert (sorted(takes.cancelled), takes.there) == ([1, 3], False)
    assert (peer.connection.streams, peer.connection._buffered) == ({}, 0)
    takes.answer(1, b"late")
    peer.send(data(5, b"more"))
    assert peer.taken() == []


def test_what_was_on_its_way_when_we_close_is_answered_and_what_came_later_is_not() -> None:
    takes = Takes()
    peer = Peer(takes)
    peer.ask(1)
    peer.connection.close()
    goaway, ping = peer.taken()
    assert (goaway.kind, goaway.payload[:4]) == (frames.GOAWAY, b"\x7f\xff\xff\xff")
    peer.ask(3)  # the peer did not know
    peer.send(frames.frame(frames.PING, frames.ACK, 0, ping.payload))
    (last,) = peer.taken()
    assert (last.kind, int.from_bytes(last.payload[:4])) == (frames.GOAWAY, 3)
    peer.ask(5)
    assert [number for number, _ in takes.asked] == [1, 3]
    takes.answer(3, b"")
    assert not peer.wire.closed
    takes.answer(1, b"")
    assert peer.wire.closed
    assert sorted(ended(peer.taken())) == [1, 3]


def test_a_peer_that_goes_away_gets_what_it_waits_for() -> None:
    takes = Takes()
    peer = Peer(takes)
    peer.ask(1)
    peer.send(frames.goaway(0, Code.NO_ERROR))
    assert not peer.wire.closed
    takes.answer(1, b"")
    assert peer.wire.closed


def test_an_answer_before_the_question_is_whole_stops_the_question() -> None:
    takes = Takes()
    peer = Peer(takes)
    peer.send(peer.head(1) + data(1, b"half"))
    stream = peer.connection.streams[1]
    peer.connection.end(stream, b"\x88" + TRAILERS)
    assert codes(peer.taken(), frames.RST_STREAM) == [(1, Code.NO_ERROR)]
    peer.send(data(1, b"more", last=True))  # it did not know
    assert peer.taken() == []
    assert takes.asked == []


# -- bounds


def test_more_streams_than_agreed_are_refused_and_the_others_go_on() -> None:
    takes = Takes(streams=2)
    peer = Peer(takes)
    for number in (1, 3, 5):
        peer.ask(number)
    assert codes(peer.taken(), frames.RST_STREAM) == [(5, Code.REFUSED_STREAM)]
    takes.answer(1, b"")
    peer.ask(7)
    assert [number for number, _ in takes.asked] == [1, 3, 7]


def test_a_body_larger_than_agreed_ends_its_stream() -> None:
    takes = Takes(largest=20_000)
    peer = Peer(takes)
    peer.send(peer.head(1) + data(1, bytes(20_001), last=True))
    assert codes(peer.taken(), frames.RST_STREAM) == [(1, Code.FLOW_CONTROL_ERROR)]
    peer.ask(3, bytes(20_000))
    assert [number for number, _ in takes.asked] == [3]


def test_bodies_that_never_end_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_BUFFERED", 30_000)
    takes = Takes()
    peer = Peer(takes)
    for number in (1, 3, 5):
        peer.send(peer.head(number) + data(number, bytes(14_000)))
    assert codes(peer.taken(), frames.RST_STREAM) == [(5, Code.REFUSED_STREAM)]
    peer.send(data(1, b"", last=True))
    peer.send(peer.head(7) + data(7, bytes(14_000)))
    assert codes(peer.taken(), frames.RST_STREAM) == []


def test_a_header_block_that_never_ends_ends_the_connection() -> None:
    peer = Peer(Takes())
    peer.send(frames.frame(frames.HEADERS, 0, 1, b""))
    for _ in range(3):
        if not peer.wire.closed:
            peer.send(frames.frame(frames.CONTINUATION, 0, 1, bytes(16_000)))
    assert codes(peer.taken(), frames.GOAWAY) == [(0, Code.ENHANCE_YOUR_CALM)]
    assert peer.wire.closed


def test_more_headers_than_a_request_may_have_end_the_connection() -> None:
    peer = Peer(Takes())
    many = [*GRPC, *((f"x-{number}", "v" * 100) for number in range(200))]
    block = peer.encoder.encode(many)
    first, *more = (block[place : place + 16_000] for place in range(0, len(block), 16_000))
    peer.send(frames.frame(frames.HEADERS, 0 if more else BLOCK_ENDS, 1, first))
    for place, part in enumerate(more):
        peer.send(frames.frame(frames.CONTINUATION, BLOCK_ENDS if place == len(more) - 1 else 0, 1, part))
    assert codes(peer.taken(), frames.GOAWAY) == [(0, Code.COMPRESSION_ERROR)]


def test_as_many_headers_as_we_say_are_taken() -> None:
    takes = Takes()
    peer = Peer(takes)
    fresh = Connection(takes)
    peer.wire.written = b""
    fresh.connection_made(peer.wire)
    said = dict(frames.read_settings(peer.taken()[0].payload))[frames.MAX_HEADER_LIST_SIZE]
    used = sum(len(name) + len(value) + 32 for name, value in GRPC)  # RFC 9113 section 6.5.2
    block = peer.encoder.encode([*GRPC, ("x", "~" * (said - used - 33))], huffman=False)
    peer.send(frames.frame(frames.HEADERS, frames.END_STREAM, 1, block[:16_000]))
    peer.send(frames.frame(frames.CONTINUATION, BLOCK_ENDS, 1, block[16_000:]))
    assert [number for number, _ in takes.asked] == [1]


def test_however_often_windows_change_what_waits_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    takes = Takes()
    peer = Peer(takes, {frames.INITIAL_WINDOW_SIZE: 10})
    peer.ask(1)
    takes.answer(1, bytes(25))
    peer.taken()
    looked = []
    flush = Connection._flush
    monkeypatch.setattr(Connection, "_flush", lambda each: (looked.append(1), flush(each)))
    one = frames.window_update(1, 1) + frames.window_update(0, 1)
    peer.send(one * 10 + frames.settings({frames.INITIAL_WINDOW_SIZE: 15}) * 3)
    assert len(looked) == 1
    assert ended(peer.taken()) == [1]


def test_of_a_setting_that_is_repeated_the_last_one_counts() -> None:
    written = []

    class Counted(Stream):
        def __setattr__(self, name: str, value: object) -> None:
            written.append(name)
            super().__setattr__(name, value)

    sender, stream = Sender(lambda data: None), Counted(1, Head(), frames.DEFAULT_WINDOW)
    written.clear()
    sender.settle([(frames.INITIAL_WINDOW_SIZE, size) for size in range(1000)], [stream])
    assert (stream.window, sender.initial_window, written) == (999, 999, ["window"])


def test_a_flood_of_settings_ends_the_connection() -> None:
    peer = Peer(Takes())
    some = frames.settings({frames.INITIAL_WINDOW_SIZE: 1}) * connection.MAX_SETTINGS
    peer.send(some)
    peer.send(some)
    assert not peer.wire.closed
    peer.send(some + frames.settings({}))
    assert codes(peer.taken(), frames.GOAWAY) == [(0, Code.ENHANCE_YOUR_CALM)]


def test_who_does_not_read_is_not_read() -> None:
    peer = Peer(Takes())
    peer.connection.pause_writing()
    assert peer.wire.paused
    peer.connection.resume_writing()
    assert not peer.wire.paused


def test_streams_opened_and_reset_at_once_leave_nothing_behind() -> None:
    takes = Takes()
    peer = Peer(takes)
    for number in range(1, 2001, 2):
        peer.ask(number)
        peer.send(frames.reset(number, Code.CANCEL))
    assert len(takes.cancelled) == 1000
    assert peer.connection.streams == {}
    assert not peer.wire.closed


# -- any bytes


@given(st.binary(max_size=200))
def test_bytes_that_are_no_http_2_end_the_connection_and_nothing_else(junk: bytes) -> None:
    takes = Takes()
    peer = Peer(takes)
    peer.connection = Connection(takes)
    peer.connection.connection_made(peer.wire)
    peer.send(junk)
    assert peer.wire.closed or frames.PREFACE.startswith(junk[: len(frames.PREFACE)])
    assert takes.asked == []


@given(
    st.lists(
        st.tuples(
            st.integers(0, 12),
            st.sampled_from([0, 1, 4, 5, 8, 9, 0x20, 0x25, 0x2D, 0xFF]),
            st.sampled_from([0, 1, 2, 3, 5, 7, 2**31 - 1, 2**31 + 1]),
            st.one_of(
                st.binary(max_size=40),
                st.sampled_from([b"", bytes(4), bytes(8), b"\x00\x00\x00\x01", b"\x7f\xff\xff\xff"]),
            ),
        ),
        max_size=12,
    ),
    st.data(),
)
def test_frames_in_any_order_raise_nothing_and_break_no_bound(
    story: list[tuple[int, int, int, bytes]], chosen: st.DataObject
) -> None:
    takes = Echo()
    peer = Peer(takes)
    for kind, flags, stream, payload in story:
        if peer.wire.closed:
            break
        if kind == frames.HEADERS and chosen.draw(st.booleans()):
            peer.send(peer.head(stream & 0x7FFFFFFF, flags=flags & 0x5 | BLOCK_ENDS))
        else:
            peer.send(frames.frame(kind, flags, stream, payload))
    peer.taken()
    assert len(peer.connection.streams) <= takes.streams
    assert peer.connection._buffered == sum(stream.received for stream in peer.connection.streams.values())
    assert peer.connection._room <= connection.WINDOW
