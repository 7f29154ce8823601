"""What is read of one access log entry: all that happened, nothing secret, and never an exception but one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given
from hypothesis import strategies as st

from authz import canonical
from authz._pb import aegis_access_log_pb2 as pb
from authz.config import Settings
from authz.wire.accesslog import FLAGS, METADATA, Outcome, read
from tests.wire.logged import HASH, LOG, decision_id, entry, said

NAMES = Settings().outcomes.correlation_headers
TRACE = "0af7651916cd43dd8448eb211c80319c"


def outcome(made: Any) -> Outcome:
    found = read(made if isinstance(made, bytes) else made.SerializeToString(), NAMES)
    assert found is not None
    return found


def test_everything_that_became_of_a_request_is_there() -> None:
    found = outcome(entry(7))
    assert found.members == {
        "decision_id": decision_id(7),
        "decision_log": LOG,
        "decision_seq": 7,
        "decision_entry_hash": HASH,
        "forwarded": True,
        "status": 200,
        "details": "via_upstream",
        "protocol": "HTTP/1.1",
        "request_bytes": 12,
        "request_header_bytes": 300,
        "response_bytes": 4096,
        "response_header_bytes": 150,
        "started": "2026-01-01T00:00:00.000007Z",
        "duration_us": 5000,
        "upstream_first_us": 4000,
        "upstream_last_us": 4500,
        "upstream": "192.0.2.7:443",
        "cluster": "sample",
        "request_id": "request-7",
    }
    assert found.named is not None
    assert (found.named.decision, found.forwarded, found.identity) == ("allow", True, decision_id(7))


def test_without_a_decision_it_says_what_was_asked_for_but_never_the_query() -> None:
    made = entry(decided=False)
    made.request.path = b"/reset/eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2ln?token=geheim#x"
    made.request.authority = b"user:geheim@api.example"
    members = outcome(made).members
    assert members["endpoint"] == "https://api.example/reset/[redacted]"
    assert members["method"] == "GET"
    assert "geheim" not in repr(members)
    assert not any(name.startswith("decision") for name in members)


@pytest.mark.parametrize(
    "fields",
    [
        {"decision_id": "geheim"},
        {"decision_id": None},
        {"log": "no log"},
        {"log": None},
        {"seq": -1},
        {"seq": 1.5},
        {"seq": 1e300},
        {"seq": float("nan")},
        {"seq": float("inf")},
        {"entry_hash": "AB" * 32},
        {"decision": "allow it"},
        {"decision": None},
    ],
    ids=repr,
)
def test_metadata_that_is_not_ours_names_no_decision(fields: dict[str, Any]) -> None:
    found = outcome(entry(1, said(1, **fields)))
    assert found.named is None
    assert found.members["endpoint"] == "https://api.example/v1/things"


def test_metadata_of_others_is_not_even_read() -> None:
    made = entry(1)
    made.common_properties.metadata.filter_metadata["envoy.filters.http.mcp"] = b"\xff not a struct"
    assert outcome(made).named is not None


def test_metadata_under_our_name_that_is_no_struct_makes_no_entry() -> None:
    with pytest.raises(ValueError, match="not an access log entry"):
        read(entry(1, b"\xff").SerializeToString(), NAMES)


def test_every_flag_has_envoys_short_name() -> None:
    assert set(FLAGS) == {field.number for field in pb.ResponseFlags.DESCRIPTOR.fields}
    made = entry()
    flags = made.common_properties.response_flags
    flags.upstream_connection_failure = flags.upstream_retry_limit_exceeded = True
    flags.unauthorized_details = b"\x08\x01"
    assert outcome(made).members["flags"] == ["UF", "UAEX", "URX"]


def test_where_it_went_is_an_address_a_socket_or_another_listener() -> None:
    made = entry()
    address = made.common_properties.upstream_remote_address
    address.socket_address.address = b"2001:db8::7"
    assert outcome(made).members["upstream"] == "[2001:db8::7]:443"
    address.pipe.path = b"/run/upstream.sock"
    assert outcome(made).members["upstream"] == "unix:/run/upstream.sock"
    address.envoy_internal_address.server_listener_name = b"inner"
    assert outcome(made).members["upstream"] == "internal:inner"
    made.common_properties.ClearField("upstream_remote_address")
    assert "upstream" not in outcome(made).members


def test_a_host_that_was_chosen_but_sent_nothing_was_not_forwarded_to() -> None:
    made = entry()
    made.common_properties.ClearField("time_to_first_upstream_tx_byte")
    assert outcome(made).forwarded is outcome(made).members["forwarded"] is False


def test_an_entry_before_the_end_of_its_request_is_no_outcome() -> None:
    made = entry()
    made.common_properties.intermediate_log_entry = True
    assert read(made.SerializeToString(), NAMES) is None


def test_correlation_ids_are_kept_and_the_trace_is_named() -> None:
    made = entry()
    made.request.request_headers["x-correlation-id"] = b"order:17"
    made.request.request_headers["traceparent"] = f"00-{TRACE}-b7ad6b7169203331-01".encode()
    made.response.response_headers["x-request-id"] = b"upstream-5"
    members = outcome(made).members
    assert members["correlation"] == {
        "request": {"x-correlation-id": "order:17"},
        "response": {"x-request-id": "upstream-5"},
    }
    assert members["trace_id"] == TRACE
    assert "redacted" not in members


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer geheim",
        b"eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2ln",
        b"sk_live_0123456789012345678901234567890123456789",
        b"x" * 65,
        b"\xff\xfe",
        b"a\nb",
    ],
)
def test_what_does_not_look_like_an_id_is_masked_and_named(value: bytes) -> None:
    made = entry()
    made.response.response_headers["x-correlation-id"] = value
    members = outcome(made).members
    assert members["correlation"] == {"response": {"x-correlation-id": "[redacted]"}}
    assert members["redacted"] == ["/correlation/response/x-correlation-id"]


def test_headers_that_nobody_asked_for_are_left_out_even_if_envoy_sends_them() -> None:
    made = entry()
    for headers in (made.request.request_headers, made.response.response_headers):
        for name in ("authorization", "cookie", "set-cookie", "x-api-key", "x-aegis-agent-token"):
            headers[name] = b"geheim"
    assert "geheim" not in repr(outcome(made).members)


def test_text_that_is_not_utf8_costs_nobody_anything() -> None:
    made = entry(decided=False)
    made.request.path = made.request.authority = made.response.response_code_details = b"/\xff\x1b[31m"
    members = outcome(made).members
    assert members["details"] == "/%FF%1B[31m"
    assert members["endpoint"] == "https:///%FF%1B[31m/%FF%1B[31m"


@pytest.mark.parametrize("identity", ["decision", "stream", "request", "nothing"])
def test_the_same_entry_is_recognised_and_another_of_the_same_request_is_not(identity: str) -> None:
    def made(number: int = 1) -> Any:
        one = entry(number, decided=identity == "decision")
        if identity != "stream":
            one.common_properties.stream_id = b""
        if identity == "nothing":
            one.request.request_id = b""
        return one

    later = made()
    later.common_properties.duration.FromMicroseconds(5001)
    first, again, other, second = (outcome(one) for one in (made(), made(), made(2), later))
    assert (first.identity, first.event) == (again.identity, again.event)
    assert (first.identity, first.event) != (second.identity, second.event)
    assert first.identity != other.identity


@pytest.mark.parametrize(
    "change",
    [
        lambda made: setattr(made.request, "request_body_bytes", 2**53),
        lambda made: setattr(made.common_properties.start_time, "seconds", 2**60),
        lambda made: setattr(made.common_properties.start_time, "seconds", -(2**40)),
    ],
)
def test_numbers_that_no_entry_can_hold_are_refused(change: Callable[[Any], None]) -> None:
    made = entry()
    change(made)
    with pytest.raises(ValueError, match=r".+"):
        read(made.SerializeToString(), NAMES)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_outcome_or_a_value_error(data: bytes) -> None:
    check(data)


@given(st.data())
def test_any_message_is_an_outcome_or_a_value_error(data: st.DataObject) -> None:
    made = pb.HTTPAccessLogEntry()
    fill(data, made, pb.HTTPAccessLogEntry.DESCRIPTOR)
    made.common_properties.metadata.filter_metadata[METADATA] = data.draw(
        st.one_of(st.binary(max_size=20), st.just(said(1)))
    )
    check(made.SerializeToString())


def check(data: bytes) -> None:
    """Read, or refused; what is read fits an entry's profile, and is bounded."""
    try:
        found = read(data, NAMES)
    except ValueError:
        return
    if found is not None:
        encoded = canonical.encode(found.members)
        assert canonical.parse(encoded) == found.members
        assert len(encoded) < 8192


def fill(data: st.DataObject, made: Any, kind: Descriptor) -> None:
    """Any of the fields, with anything in them."""
    scalars = {
        "bytes": st.binary(max_size=40),
        "bool": st.booleans(),
        "int32": st.integers(-(2**31), 2**31 - 1),
        "int64": st.integers(-(2**63), 2**63 - 1),
        "uint32": st.integers(0, 2**32 - 1),
        "uint64": st.integers(0, 2**64 - 1),
    }
    names = {number: name for name, number in TYPES.items()}
    for field in kind.fields:
        if field.is_repeated or not data.draw(st.booleans()):
            continue
        if field.message_type:
            fill(data, getattr(made, field.name), field.message_type)
            getattr(made, field.name).SetInParent()
        else:
            setattr(made, field.name, data.draw(scalars[names[field.type]]))


TYPES = {"bytes": 12, "bool": 8, "int32": 5, "int64": 3, "uint32": 13, "uint64": 4}
