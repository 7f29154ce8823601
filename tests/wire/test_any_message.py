"""Reading is total: of whatever bytes comes a Request or a Malformed, and an answer that parses."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz._pb.aegis_ext_authz_pb2 import AttributeContext, CheckRequest, CheckResponse
from authz.config_listen import Limits
from authz.values import Decision, Malformed, Receipt, Request, Ruling, Verdict
from authz.wire.extauthz import read
from authz.wire.reply import Replies
from tests.wire.generated import messages
from tests.worker import message

LIMITS = Limits(header_count=12, header_bytes=400, path_bytes=60, body_bytes=30, json_depth=4)
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REPLIES = (Replies(full=True, credentials=()), Replies(full=False, credentials=("authorization",)))
BOUNDED = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
VISIBLE = re.compile(r"[!-~]*")


def judge(data: bytes, parent: str = "") -> None:
    found = read(data, LIMITS, parent, lambda: "f" * 32)
    if isinstance(found, Malformed):
        check_malformed(found)
    else:
        check_request(found)
    for decision, status in ((Decision.ALLOW, 200), (Decision.DENY, 403)):
        check_replies(found, decision, status)


def check_malformed(found: Malformed) -> None:
    assert found.reason.http_status in (400, 413)
    assert found.detail
    for shown in (found.request_id, found.method, found.scheme, found.host, found.path):
        assert VISIBLE.fullmatch(shown)
        assert len(shown) <= 512
    assert "?" not in found.path
    assert re.fullmatch("[0-9a-f]{32}", found.trace_id)


def check_request(found: Request) -> None:
    assert len(found.headers) <= LIMITS.header_count
    assert all(name == name.lower() for name in found.headers)
    assert len(found.body) <= LIMITS.body_bytes
    assert found.path.startswith("/") or (found.method, found.path) in {("OPTIONS", "*"), ("CONNECT", "")}
    assert (found.host, found.host[-1:] != ".") == (found.host.lower(), True)
    assert 0 < found.port < 65536
    assert found.attributes.at(("request", "http", "method")) == found.method
    assert re.fullmatch("[0-9a-f]{32}", found.trace_id)


def check_replies(found: Request | Malformed, decision: Decision, status: int) -> None:
    ruling = Ruling(decision, "because", status, Verdict(decision, "because", engine="opa"), synced=False)
    for replies in REPLIES:
        response = CheckResponse.FromString(replies.reply(Receipt("a/b/c", 1, "0" * 64, "id", ruling), found))
        allowed = decision is Decision.ALLOW and isinstance(found, Request)
        assert (response.status.code == 0) is allowed
        assert response.WhichOneof("http_response") == ("ok_response" if allowed else "denied_response")
        if not allowed:
            assert json.loads(response.denied_response.body)["reason_code"] == "because"


@BOUNDED
@given(st.binary(max_size=300))
def test_noise(data: bytes) -> None:
    judge(data)


@BOUNDED
@given(messages(CheckRequest))
def test_any_check_request(request: Any) -> None:
    judge(request.SerializeToString(), PARENT)


@BOUNDED
@given(messages(AttributeContext, 2), st.booleans())
def test_a_good_request_with_anything_merged_into_it(context: Any, raw: bool) -> None:
    request = message(raw=raw, headers={"content-type": "application/json"})
    request.attributes.MergeFrom(context)
    judge(request.SerializeToString())


@BOUNDED
@given(st.integers(0, 10**6), st.integers(0, 5), st.binary(max_size=5), st.booleans())
def test_a_good_request_with_bytes_changed(place: int, cut: int, patch: bytes, raw: bool) -> None:
    request = message(raw=raw, method="POST", path="/a%20b?q=1", body=b'{"a":[1]}')
    data = request.SerializeToString(deterministic=True)
    place %= len(data) + 1
    judge(data[:place] + patch + data[place + cut :])


@BOUNDED
@given(st.integers(0, 10**6), st.booleans())
def test_a_good_request_cut_off(end: int, raw: bool) -> None:
    data = message(raw=raw, body=b"abc").SerializeToString(deterministic=True)
    judge(data[: end % len(data)])


@BOUNDED
@given(st.integers(0, 10**6), st.integers(0, 7))
def test_a_good_request_with_one_bit_flipped(place: int, bit: int) -> None:
    data = bytearray(message(headers={"x-a": "b"}).SerializeToString(deterministic=True))
    data[place % len(data)] ^= 1 << bit
    judge(bytes(data))
