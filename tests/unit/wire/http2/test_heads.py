"""Header blocks: what they say, what is wrong with some, and that remembering one changes nothing."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from authz.wire.http2 import heads
from authz.wire.http2.frames import Code, ConnectionFault
from authz.wire.http2.heads import Head, Heads
from tests.wire.http2.peer import GRPC, REQUEST

Headers = list[tuple[str, str]]


def read(headers: Headers, made: Heads | None = None) -> Head:
    return (made or Heads()).read(Encoder().encode(headers))


def test_what_grpc_needs_is_read() -> None:
    named = [
        ("grpc-timeout", "500m"),
        ("traceparent", "00-ab"),
        ("grpc-encoding", "gzip"),
        ("content-length", "7"),
    ]
    head = read([*GRPC, *named])
    assert head == Head(
        method="POST",
        path="/s/Method",
        content_type="application/grpc",
        traceparent="00-ab",
        timeout_s=0.5,
        length=7,
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1H", 3600.0),
        ("2M", 120.0),
        ("3S", 3.0),
        ("0m", 0.0),
        ("99999999u", 99.999999),
        ("5n", 5e-9),
        ("", None),
        ("5", None),
        ("m", None),
        ("-5m", None),
        ("1.5S", None),
        ("123456789m", None),
        ("5x", None),
        ("²m", None),
    ],
)
def test_a_timeout_is_read_as_grpc_writes_it(text: str, seconds: float | None) -> None:
    assert heads._timeout(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "headers",
    [
        GRPC[1:],
        [*REQUEST[:2], *REQUEST[3:]],
        [*REQUEST, (":path", "/again")],
        [("te", "trailers"), *REQUEST],
        [*REQUEST, (":status", "200")],
        [*REQUEST, ("Upper", "case")],
        [*REQUEST, ("connection", "close")],
        [*REQUEST, ("transfer-encoding", "chunked")],
        [*REQUEST, ("te", "gzip")],
        [*REQUEST, ("content-length", "many")],
        [(":method", "POST"), (":scheme", "http"), (":path", "")],
    ],
    ids=lambda headers: str(headers[-1]),
)
def test_what_the_rfc_forbids_is_said(headers: Headers) -> None:
    assert read(headers).fault


def test_trailers_are_told_from_requests() -> None:
    assert read([("x-checked", "yes")]).trailers
    assert not read(GRPC).trailers


@pytest.mark.parametrize(
    "block", [b"\xff\xff\xff\xff\xff\xff", b"\x80", b"\xbf", b"\x40\x85abc", b"\x3f\xff\xff\x7f"]
)
def test_what_cannot_be_decompressed_ends_the_connection(block: bytes) -> None:
    with pytest.raises(ConnectionFault) as caught:
        Heads().read(block)
    assert caught.value.code is Code.COMPRESSION_ERROR


def test_more_than_a_list_may_have_is_refused() -> None:
    with pytest.raises(ConnectionFault):
        read([*GRPC, ("x", "v" * heads.MAX_LIST)])


headers_of = st.lists(
    st.tuples(
        st.sampled_from(["traceparent", "grpc-timeout", "x-request-id", "x", "content-length"]),
        st.one_of(
            st.sampled_from(["", "1", "500m", "a" * 60]), st.from_regex(r"[ -~]{0,40}", fullmatch=True)
        ),
    ),
    max_size=5,
)


@given(st.lists(st.tuples(headers_of, st.booleans()), min_size=1, max_size=30), st.integers(0, 4096))
def test_a_block_that_is_remembered_says_what_it_says(story: list[tuple[Headers, bool]], size: int) -> None:
    """The same connection, read with and without memory, by an encoder whose table is large or small."""
    encoder, plain, remembering = Encoder(), Decoder(), Heads()
    encoder.header_table_size = size
    before = b""
    for more, again in story:
        block = before if again and before and not _changes(before) else encoder.encode([*GRPC, *more])
        before = block
        expected = heads._head([(bytes(name), bytes(value)) for name, value in plain.decode(block, raw=True)])
        assert remembering.read(block) == expected


def _changes(block: bytes) -> bool:
    """Whether it may change the table when it is sent again: it does not if all is indexed."""
    return any(not byte & 0x80 for byte in block)


@pytest.mark.parametrize("sizes", [b"\x20", b"\x20\x3f\xe1\x1f"], ids=["smaller", "smaller and back"])
def test_what_a_smaller_table_lost_is_not_remembered(sizes: bytes) -> None:
    made, encoder = Heads(), Encoder()
    made.read(encoder.encode(GRPC))
    indexed = encoder.encode(GRPC)
    assert made.read(indexed) == made.read(indexed)
    made.read(sizes + b"\x82")  # and :method GET, of the static table
    with pytest.raises(ConnectionFault):
        made.read(indexed)


def test_few_blocks_are_remembered() -> None:
    made, encoder = Heads(), Encoder()
    for number in range(3 * heads.MAX_KEPT):
        made.read(encoder.encode([(":method", "POST"), ("x", str(number))]))
        made.read(encoder.encode([(":method", "POST"), ("x", str(number))]))
    assert len(made._kept) <= heads.MAX_KEPT
