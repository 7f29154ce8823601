"""The input document's fields, one by one, as opa-envoy-plugin's users know them and as ours are."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from authz.errors import Denied
from authz.policy.document import FIELDS, body_form, parsed_body, parsed_path, parsed_query, truncated_body
from authz.testing import a_request
from authz.values import CLAIMS, MISSING, Action, Assurance, Claims, Mcp, Reason, Request, Subject

NOW = datetime(2026, 11, 24, 13, 5, 59, tzinfo=UTC)


def read(
    path: str, request: Request | None = None, subject: Subject | None = None, now: datetime = NOW
) -> Any:
    field = FIELDS[tuple(path.split("."))]
    return field(request or a_request(), subject or Subject("a", Assurance.JWT), now)


def with_body(kind: str, body: bytes, arguments: Any = MISSING, **headers: str) -> Request:
    action = Action("http", "", "POST", "/v1", arguments)
    return a_request(headers={"content-type": kind} | headers, body=body, action=action)


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("/", [""]),
        ("", [""]),
        ("/a/b", ["a", "b"]),
        ("/a/", ["a", ""]),
        ("//a//b", ["a", "", "b"]),
        ("/a?x=/y", ["a"]),
        ("/a%2Fb", ["a", "b"]),
        ("/%2F%2fadmin", ["admin"]),
        ("/%252F", ["%2F"]),
        ("/a+b", ["a+b"]),
        ("/./../a", [".", "..", "a"]),
        ("/a#f", ["a#f"]),
        ("/caf%C3%A9", ["café"]),
        ("/%FF", ["�"]),
        ("http://h/x", ["http:", "", "h", "x"]),
    ],
)
def test_the_path_is_decoded_once_and_split(path: str, segments: list[str]) -> None:
    assert parsed_path(a_request(path=path)) == segments


@pytest.mark.parametrize("path", ["/100%", "/%zz", "/%u00e9"])
def test_a_broken_escape_in_the_path_denies(path: str) -> None:
    with pytest.raises(Denied) as caught:
        parsed_path(a_request(path=path))
    assert caught.value.reason is Reason.MALFORMED_PATH
    assert path not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ("", {}),
        ("&&", {}),
        ("a", {"a": [""]}),
        ("a=", {"a": [""]}),
        ("=v", {"": ["v"]}),
        ("a=1&b=2&a=3", {"a": ["1", "3"], "b": ["2"]}),
        ("a=x+y&f[0]=1", {"a": ["x y"], "f[0]": ["1"]}),
        ("a=b=c", {"a": ["b=c"]}),
        ("%61=%26", {"a": ["&"]}),
    ],
)
def test_every_query_value_is_a_list(query: str, pairs: dict[str, list[str]]) -> None:
    assert parsed_query(a_request(query=query)) == pairs


@given(st.text(st.sampled_from("ab=&+é%"), max_size=12) | st.text(max_size=8))
def test_a_query_is_read_as_a_form_is(query: str) -> None:
    """Whatever needs no decoding is not decoded, with the same result."""
    assume(";" not in query and not re.search("%(?![0-9A-Fa-f]{2})", query))
    assert parsed_query(a_request(query=query)) == parse_qs(query, keep_blank_values=True)


@pytest.mark.parametrize("query", ["a=1;b=2", "q=100%", "%u00e9"])
def test_a_query_that_readers_split_differently_denies(query: str) -> None:
    with pytest.raises(Denied) as caught:
        parsed_query(a_request(query=query))
    assert caught.value.reason is Reason.MALFORMED_QUERY


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (a_request(), None),
        (with_body("application/json", b"", MISSING), None),
        (with_body("application/json", b'{"a":1}', {"a": 1}), {"a": 1}),
        (with_body("application/json; charset=utf-8", b"[1]", [1]), [1]),
        (with_body("application/json-patch+json", b"[]", []), []),
        (with_body("application/json", b"null", None), None),
        (with_body("application/vnd.api+json", b'{"a":1}', {"a": 1}), {"a": 1}),
        (with_body("text/plain", b"x"), None),
        (with_body("application/grpc", b"\0\0\0\0\0"), None),
        (with_body("multipart/form-data; boundary=b", b"--b--"), None),
        (with_body("application/x-www-form-urlencoded", b"a=1&a=2&b"), {"a": ["1", "2"], "b": [""]}),
        (with_body("application/x-www-form-urlencoded", b"&&"), {}),
    ],
)
def test_the_body_is_read_by_its_content_type(request_: Request, body: Any) -> None:
    assert parsed_body(request_) == body


def test_a_body_that_only_some_would_read_as_json_denies() -> None:
    with pytest.raises(Denied) as caught:
        parsed_body(with_body("text/plain; was=application/json", b'{"a":1}'))
    assert caught.value.reason is Reason.MALFORMED_BODY


@pytest.mark.parametrize("body", [b"a=1;b=2", b"a=%"])
def test_a_form_that_readers_split_differently_denies(body: bytes) -> None:
    with pytest.raises(Denied) as caught:
        parsed_body(with_body("application/x-www-form-urlencoded", body))
    assert caught.value.reason is Reason.MALFORMED_BODY


@pytest.mark.parametrize(
    ("request_", "truncated"),
    [
        (a_request(), False),
        (a_request(truncated_body=True), True),
        (a_request(headers={"x-envoy-auth-partial-body": "true"}), True),
        (a_request(headers={"x-envoy-auth-partial-body": "TRUE"}), False),
        (with_body("application/json", b"{}", {}, **{"content-length": "2"}), False),
        (with_body("application/json", b"{}", {}, **{"content-length": "3"}), True),
        (with_body("application/json", b"{}", {}, **{"content-length": "+3"}), True),
        (with_body("application/json", b"{}", {}, **{"content-length": "1"}), False),
        (with_body("application/json", b"{}", {}, **{"content-length": "-1"}), False),
        (with_body("application/json", b"", MISSING, **{"content-length": "100"}), False),
        (with_body("text/plain", b"x", MISSING, **{"content-length": "100"}), False),
        (with_body("multipart/form-data", b"x", MISSING, **{"content-length": "100"}), True),
    ],
)
def test_a_body_shorter_than_announced_is_truncated(request_: Request, truncated: bool) -> None:
    assert truncated_body(request_) is truncated


@pytest.mark.parametrize("length", ["1_0", " 7", "٧", "9" * 19, "9" * 30, "x"])
def test_a_content_length_that_is_no_number_denies(length: str) -> None:
    with pytest.raises(Denied) as caught:
        truncated_body(with_body("application/json", b"{}", {}, **{"content-length": length}))
    assert caught.value.reason is Reason.MALFORMED_HEADERS


def test_a_truncated_body_is_not_parsed() -> None:
    assert parsed_body(with_body("application/json", b"{}", {}, **{"content-length": "3"})) is None


@pytest.mark.parametrize(
    ("request_", "form"),
    [
        (a_request(), "none"),
        (a_request(headers={"content-length": "0"}), "none"),
        (with_body("application/json", b'{"a":1}', {"a": 1}), "parsed"),
        (with_body("application/json", b"null", None), "parsed"),
        (with_body("Application/Problem+JSON; charset=utf-8", b'{"a":1}', {"a": 1}), "parsed"),
        (with_body("text/plain", b'{"a":1}', {"a": 1}), "opaque"),
        (with_body("", b'{"a":1}', {"a": 1}), "opaque"),
        (with_body("text/plain", b"x"), "opaque"),
        (a_request(headers={"content-length": "7"}), "opaque"),
        (a_request(headers={"content-length": "x"}), "opaque"),
        (a_request(truncated_body=True), "opaque"),
    ],
)
def test_a_body_that_nobody_read_is_told_from_none(request_: Request, form: str) -> None:
    assert body_form(request_) == form


def test_now_is_utc_wherever_the_clock_stands() -> None:
    east = NOW.astimezone(timezone(timedelta(hours=14)))
    for now in (NOW, east):
        fields = [read(f"now.{name}", now=now) for name in ("weekday", "hour", "minute", "date")]
        assert fields == ["tuesday", 13, 5, "2026-11-24"]


def test_our_own_fields_come_from_request_and_subject() -> None:
    subject = Subject("a", Assurance.MTLS, chain=("b",), claims={"role": "x"}, session_id="s")
    claims = Claims({name: name for name in CLAIMS}, ("odd",))
    action, headers = Action("http", "t", "PUT", "/r", {"k": 1}), {"content-type": "application/json"}
    message = Mcp("request", "tools/call", "n", version="2026-07-28", fault=Reason.MALFORMED_MCP_ID)
    request = a_request(sni="sni.example", headers=headers, action=action, claims=claims, mcp=message)
    values = {
        ".".join(path): read(".".join(path), request, subject) for path in FIELDS if path[0] != "attributes"
    }
    assert values == {
        "parsed_path": ["v1"],
        "parsed_query": {},
        "parsed_body": None,
        "truncated_body": False,
        "version.ext_authz": "v3",
        "version.encoding": "protojson",
        "agent.id": "a",
        "agent.chain": ("b",),
        "agent.assurance": "mtls",
        "agent.claims": {"role": "x"},
        "action.kind": "http",
        "action.tool": "t",
        "action.method": "PUT",
        "action.resource": "/r",
        "action.arguments": {"k": 1},
        "action.body": "parsed",
        "mcp.message": "request",
        "mcp.method": "tools/call",
        "mcp.name": "n",
        "mcp.version": "2026-07-28",
        "mcp.fault": "malformed_mcp_id",
        "destination.host": "api.example",
        "destination.port": 443,
        "destination.scheme": "https",
        "destination.sni": "sni.example",
        "session.id": "s",
        "session.identified": True,
        "session.labels": (),
        "context.claimed": CLAIMS,
        "context.malformed": ("odd",),
        **{f"context.{name}": name for name in CLAIMS},
        "now.weekday": "tuesday",
        "now.hour": 13,
        "now.minute": 5,
        "now.date": "2026-11-24",
    }


def test_what_nobody_claims_is_not_there() -> None:
    assert {read(f"context.{name}") for name in CLAIMS} == {MISSING}
    assert read("context.claimed") == read("context.malformed") == ()
    assert read("session.identified") is False


def test_the_parsed_body_of_a_message_is_the_whole_of_it() -> None:
    """The plugin's own member is what the plugin shows, whatever the action's arguments are."""
    request = a_request(
        headers={"content-type": "application/json", "content-length": "9"},
        body=b'{"id": 1}',
        action=Action("mcp", "", "POST", "/mcp", {"k": 1}),
    )
    assert parsed_body(request) == {"id": 1}
    assert body_form(request) == "parsed"
