"""Without `policy.compat` nothing that two readers could read differently reaches policy in two readings.

For facts 19, 21 to 25 and 28 about opa-envoy-plugin: each such request is denied before policy, or policy is
shown the one reading there is. The plugin shows its own reading, which an upstream need not share.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest

from authz.config_listen import Limits
from authz.errors import Denied
from authz.policy.document import parsed_body, parsed_path
from authz.policy.facts import Plan
from authz.policy.manifest import EntryPoint
from authz.values import UNKNOWN, Malformed, Reason, Request
from authz.wire.extauthz import read
from tests.compat.cases import FORM, JSON, PARTIAL, body, http

NOW = datetime(2026, 11, 26, tzinfo=UTC)
TWICE = '{"a": 1, "a": 2}'


def reading(message: bytes) -> Request | Malformed:
    return read(message, Limits(), "", lambda: "0" * 32)


def refused(message: bytes) -> Reason:
    found = reading(message)
    assert isinstance(found, Malformed), found
    return found.reason


def asked(message: bytes, *path: str) -> None:
    """Put a question to a policy that reads `path`."""
    request = reading(message)
    assert isinstance(request, Request)
    plan = Plan(EntryPoint(facts=(path,), prune=True), revision="v1+d", deterministic=True)
    plan.facts(request, UNKNOWN, NOW)


@pytest.mark.parametrize(
    "path",
    [
        "/a%2Fb", "/%2F%2fadmin", "//admin", "/a//b", "/./a", "/a/../b", "/a/%2e%2e/b", "/a%252Fb", "/a#f",
        "http://host/p", "/a%5cb", "/a\\b", "/%FF", "/%00", "/100%", "/a;/../b",
    ],
)  # fmt: skip
def test_fact_19_a_path_with_two_readings_is_denied(path: str) -> None:
    assert refused(http(path=path)) is Reason.MALFORMED_PATH


def test_fact_19_a_path_with_one_reading_is_read_as_the_plugin_does() -> None:
    request = reading(http(path="/a/b%20c/?q"))
    assert isinstance(request, Request)
    assert parsed_path(request) == ["a", "b c", ""]


KINDS = (
    JSON, "Application/JSON", "application/json; charset=utf-8", "application/json-patch+json",
    "application/vnd.api+json", "text/plain; was=application/json", "text/plain", "application/jsonx",
)  # fmt: skip


@pytest.mark.parametrize("kind", [*KINDS, None])
def test_fact_21_json_is_read_or_denied_whatever_its_type_says(kind: str | None) -> None:
    """The plugin shows null for some of these, and a policy on the body can be evaded."""
    request = reading(body(kind, '{"forbidden": true}'))
    assert isinstance(request, Request)
    assert request.action.arguments == {"forbidden": True}
    assert parsed_body(request) == {"forbidden": True}
    assert refused(body(kind, TWICE)) is Reason.MALFORMED_BODY


def test_fact_21_two_types_in_one_header_are_denied() -> None:
    assert refused(body(f"{FORM}, {JSON}", "a=1")) is Reason.MALFORMED_HEADERS
    assert refused(body(f"{JSON}; charset=utf-16", "{}")) is Reason.MALFORMED_BODY


def test_fact_22_raw_headers_are_read_like_the_others_and_never_beside_them() -> None:
    raw = {"headers": [{"key": "Content-Type", "rawValue": b64encode(JSON.encode()).decode()}]}
    request = reading(http(headerMap=raw, body='{"a": 1}'))
    assert isinstance(request, Request)
    assert parsed_body(request) == {"a": 1}
    assert request.attributes.at(("request", "http", "headers")) == {"content-type": JSON}
    assert refused(http(headerMap=raw, headers={"x": "y"})) is Reason.MALFORMED_HEADERS


@pytest.mark.parametrize("length", ["-1", "+8", "1_0", " 7", "٧", "8,8", "9" * 30, "0x8", ""])
def test_fact_23_a_length_that_is_no_number_of_bytes_is_denied(length: str) -> None:
    assert refused(body(JSON, '{"a": 1}', content_length=length)) is Reason.MALFORMED_HEADERS


def test_fact_23_a_length_below_the_body_is_denied() -> None:
    assert refused(body(JSON, '{"a": 1}', content_length="3")) is Reason.MALFORMED_BODY


@pytest.mark.parametrize(
    "kind", [JSON, FORM, "multipart/form-data; boundary=b", "application/grpc", "text/plain"]
)
def test_fact_23_a_policy_that_reads_a_body_is_not_asked_about_a_part(kind: str) -> None:
    announced = body(kind, "a=1" if kind == FORM else "1", content_length="100")
    partial = body(kind, "a=1", **{PARTIAL.replace("-", "_"): "true"})
    for message in (partial, announced) if kind in (JSON, FORM) else (partial,):
        with pytest.raises(Denied) as caught:
            asked(message, "parsed_body", "a")
        assert caught.value.reason is Reason.BODY_TOO_LARGE


def test_fact_24_a_body_in_two_forms_is_denied() -> None:
    assert refused(body(JSON, '{"a": 1}', b'{"b": 2}')) is Reason.MALFORMED_BODY


@pytest.mark.parametrize(
    "text",
    [
        TWICE.encode(), b'"\\ud800"', b'"\xff"', b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"NaN",
        b"[Infinity]",
        b"01", b'"a\nb"', b"{} {}", b"{} null", b"  ", b"[" * 65 + b"]" * 65, b"1e400",
        b"9007199254740993",
    ],
)  # fmt: skip
def test_fact_25_json_with_two_readings_is_denied(text: bytes) -> None:
    assert refused(body(JSON, "", text)) is Reason.MALFORMED_BODY


def test_fact_28_whether_a_body_is_all_there_is_always_said() -> None:
    """There is no option that takes `truncated_body` out of the input."""
    partial: dict[str, Any] = {PARTIAL.replace("-", "_"): "true"}
    request = reading(body("text/plain", "{}", **partial))
    assert isinstance(request, Request)
    plan = Plan(EntryPoint(facts=(("truncated_body",),), prune=True), revision="v1+d", deterministic=True)
    assert plan.facts(request, UNKNOWN, NOW).question == b'{"truncated_body":true}'
