"""A message that the gateway would read one way and some MCP server another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.protocols.mcp import VERSION_KEY, read
from authz.values import MISSING, Reason

JSON = {"content-type": "application/json"}
SAFE = {"name": "safe", "arguments": {"a": 1}}
CALL: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": SAFE}


def fault(body: Any, **headers: str) -> Reason | None:
    sent = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
    found = read("POST", sent, body)
    assert found is not None
    return found.fault


def call(**members: Any) -> dict[str, Any]:
    return CALL | members


def without(name: str) -> dict[str, Any]:
    return {each: value for each, value in CALL.items() if each != name}


@pytest.mark.parametrize("body", [[CALL], [CALL, CALL], [1, CALL], [{"JSONRPC": "2.0"}]])
def test_a_batch(body: Any) -> None:
    assert fault(body) is Reason.MALFORMED_MCP_BATCH


@pytest.mark.parametrize(
    "body",
    [
        call(Method="tools/call"),
        call(PARAMS={"name": "evil"}),
        CALL | {"param\u017f": {"name": "evil"}},
        call(extra=1),
        without("method") | {"Method": "tools/call"},
        without("jsonrpc") | {"JSONRPC": "2.0"},
        call(params=SAFE | {"Name": "evil"}),
        call(params=SAFE | {"ARGUMENTS": {"a": 2}}),
        call(params={"NAME": "evil"}),
        call(params=SAFE | {"_META": {}}),
        call(params=SAFE | {"arguments": {"a": 1, "A": 2}}),
        call(params=SAFE | {"arguments": {"a": [{"b": {"Kelvin": 1, "\u212aelvin": 2}}]}}),
        call(params=SAFE | {"_meta": {"x": 1, "X": 2}}),
    ],
)
def test_a_member_in_other_letters(body: Any) -> None:
    """Readers of typed languages (Go) fold case, some of them Unicode's too."""
    assert fault(body) is Reason.MALFORMED_MCP_MEMBER


@pytest.mark.parametrize("version", ["1.0", "2", 2.0, 2, None, "2.0 ", ["2.0"]])
def test_another_json_rpc(version: Any) -> None:
    assert fault(call(jsonrpc=version)) is Reason.MALFORMED_MCP_JSONRPC


@pytest.mark.parametrize("rpc_id", [None, True, 1.5, 1.0, [1], {}, 2**53, -(2**60), "x" * 129])
def test_an_id_that_is_none(rpc_id: Any) -> None:
    found = read("POST", JSON, call(id=rpc_id))
    assert found is not None
    assert (found.fault, found.rpc_id) == (Reason.MALFORMED_MCP_ID, None)


def test_a_call_that_wants_no_answer_and_a_notification_that_wants_one() -> None:
    """A server may carry out a call without an id; the caller just never hears of it."""
    assert fault(without("id")) is Reason.MALFORMED_MCP_ID
    assert fault(call(method="notifications/initialized", params={})) is Reason.MALFORMED_MCP_ID


@pytest.mark.parametrize(
    "params",
    [
        None,
        [],
        ["safe"],
        "safe",
        {},
        {"name": None},
        {"name": ["safe"]},
        {"name": ""},
        {"name": " safe"},
        {"name": "safe\x00"},
        {"name": "ѕafe"},
        {"name": "x" * 129},
        {"name": "safe", "arguments": []},
        {"name": "safe", "arguments": "{}"},
        {"name": "safe", "_meta": []},
    ],
)
def test_params_that_are_none(params: Any) -> None:
    assert fault(call(params=params)) is Reason.MALFORMED_MCP_PARAMS


@pytest.mark.parametrize(
    "body",
    [
        call(result={}),
        call(error={}),
        call(method=None),
        call(method=["tools/call"]),
        call(method="tools/call\x00"),
        call(method=" tools/call"),
        {"jsonrpc": "2.0"},
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}},
        {"jsonrpc": "2.0", "id": 1, "result": []},
        {"jsonrpc": "2.0", "result": {}},
        {"jsonrpc": "2.0", "id": 1, "result": {}, "params": SAFE},
    ],
)
def test_a_message_that_is_several_or_none(body: Any) -> None:
    assert fault(body) is Reason.MALFORMED_MCP_MESSAGE


@pytest.mark.parametrize(
    "headers",
    [
        {"mcp_method": "tools/list"},
        {"mcp_method": "Tools/Call"},
        {"mcp_method": ""},
        {"mcp_name": "other"},
        {"mcp_name": "SAFE"},
        {"mcp_name": "=?base64?b3RoZXI=?="},
        {"mcp_name": "=?base64?c2FmZQ?="},
        {"mcp_protocol_version": "2026-07-28"},
        {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/call"},
        {"mcp_protocol_version": "2026-07-28", "mcp_name": "safe"},
    ],
)
def test_headers_that_name_another_call(headers: dict[str, str]) -> None:
    """From 2026 on others route by the headers and need not look into the body."""
    assert fault(CALL, **headers) is Reason.MALFORMED_MCP_HEADERS


def test_an_envelope_of_another_revision_than_the_header() -> None:
    body = call(params=SAFE | {"_meta": {VERSION_KEY: "2026-07-28"}})
    assert fault(body) is Reason.MALFORMED_MCP_HEADERS
    assert fault(body, mcp_protocol_version="2025-11-25") is Reason.MALFORMED_MCP_HEADERS
    odd = call(params=SAFE | {"_meta": {VERSION_KEY: ["2025-11-25"]}})
    assert fault(odd) is Reason.MALFORMED_MCP_HEADERS


def test_a_revision_that_nobody_knows() -> None:
    assert fault(CALL, mcp_protocol_version="2099-01-01") is Reason.MALFORMED_MCP_VERSION


@pytest.mark.parametrize("session", ["", "a b", "é", "x" * 257])
def test_a_session_id_that_is_none(session: str) -> None:
    assert fault(CALL, mcp_session_id=session) is Reason.MALFORMED_MCP_SESSION


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/json-rpc", "application/vnd.mcp+json", "application/json; charset=utf-16",
     "application/json; charset=utf-8; charset=utf-7", "application/json; boundary=x", "application/jsonx"],
)  # fmt: skip
def test_another_content_type(kind: str) -> None:
    assert fault(CALL, content_type=kind) is Reason.MALFORMED_MCP_CONTENT_TYPE


@pytest.mark.parametrize("kind", ["Application/JSON", "application/json; charset=utf-8", "application/json;"])
def test_the_content_type_in_its_usual_spellings(kind: str) -> None:
    assert fault(CALL, content_type=kind) is None


@pytest.mark.parametrize(
    "envoys",
    [
        {"method": "tools/list", "id": 1},
        {"method": "tools/call", "id": 2},
        {"method": "tools/call", "params": {"name": "evil"}},
        {"method": None},
        {"id": "one"},
    ],
)
def test_what_envoy_read_otherwise(envoys: dict[str, Any]) -> None:
    found = read("POST", JSON, CALL, envoys)
    assert found is not None
    assert found.fault is Reason.MALFORMED_MCP_METADATA


def test_what_envoy_read_alike_or_not_at_all() -> None:
    for envoys in ({"method": "tools/call", "id": 1, "params": {"name": "safe"}}, {"id": "1"}, {"x": 1}, {}):
        found = read("POST", JSON, CALL, envoys)
        assert found is not None
        assert found.fault is None
    alone = read("POST", JSON, MISSING, {"method": "tools/call"})  # only Envoy took it for a message
    assert alone is not None
    assert alone.fault is not None


ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False),
              st.sampled_from(["2.0", "tools/call", "ping", "safe", "x", ""])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.sampled_from("jsonrpc id method params name arguments _meta result error Method NAME".split()),
            inner,
        ),
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(ANY, st.sampled_from(["POST", "GET", "DELETE", "PUT"]), st.dictionaries(
    st.sampled_from(["mcp-method", "mcp-name", "mcp-session-id", "mcp-protocol-version", "content-type"]),
    st.sampled_from(["", "application/json", "tools/call", "safe", "2026-07-28", "2025-11-25"]),
))  # fmt: skip
def test_whatever_comes_is_a_message_a_fault_or_none(body: Any, method: str, headers: dict[str, str]) -> None:
    found = read(method, headers, body)
    if found is None or found.fault:
        return
    if method == "POST":
        assert body["jsonrpc"] == "2.0"
        assert found.method == body.get("method", "")
        assert found.name in ("", (body.get("params") or {}).get("name"))
    else:
        assert found.message in ("stream", "end")
