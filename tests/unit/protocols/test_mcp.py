"""What an MCP message is, in both eras of the protocol, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from authz.protocols.mcp import VERSION_KEY, decoded, read, speaks
from authz.values import MISSING, Mcp, Reason

JSON = {"content-type": "application/json"}
MODERN = JSON | {"mcp-protocol-version": "2026-07-28"}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t", "arguments": {"a": 1}}}


def message(body: Any, headers: dict[str, str] = JSON, **more: Any) -> Mcp:
    found = read("POST", headers, body, **more)
    assert found is not None
    return found


def fault(body: Any, headers: dict[str, str] = JSON, **more: Any) -> Reason | None:
    return message(body, headers, **more).fault


def changed(**members: Any) -> dict[str, Any]:
    return CALL | members


def test_a_call_names_its_tool_and_its_arguments() -> None:
    found = message(changed(params=CALL["params"] | {"_meta": {"aegis/step-id": "s"}}))
    assert found == Mcp("request", "tools/call", "t", {"a": 1}, rpc_id=1, meta={"aegis/step-id": "s"})


@pytest.mark.parametrize("params", [{"name": "t"}, {"name": "t", "arguments": None}])
def test_a_call_without_arguments_has_none(params: dict[str, Any]) -> None:
    assert message(changed(params=params)).arguments == {}


@pytest.mark.parametrize(
    ("body", "kind", "method", "arguments"),
    [
        (
            {"id": "x", "method": "initialize", "params": {"protocolVersion": "2025-11-25"}},
            "request",
            "initialize",
            {"protocolVersion": "2025-11-25"},
        ),
        ({"id": 0, "method": "ping"}, "request", "ping", {}),
        ({"id": -1, "method": "tools/list", "params": {"_meta": {}}}, "request", "tools/list", {}),
        ({"id": 2, "method": "logging/setLevel"}, "request", "logging/setLevel", {}),
        ({"id": 2, "method": "server/discover"}, "request", "server/discover", {}),
        ({"method": "notifications/initialized"}, "notification", "notifications/initialized", {}),
        ({"id": 5, "result": {"roots": []}}, "response", "", {}),
        ({"id": 5, "error": {"code": -1, "message": "no"}}, "error", "", {}),
    ],
)
def test_other_messages(body: dict[str, Any], kind: str, method: str, arguments: Any) -> None:
    found = message({"jsonrpc": "2.0"} | body)
    assert (found.message, found.method, found.arguments, found.fault) == (kind, method, arguments, None)


def test_a_resource_is_named_by_its_uri() -> None:
    found = message(changed(method="resources/read", params={"uri": "file:///a"}))
    assert (found.name, found.arguments) == ("file:///a", {"uri": "file:///a"})


def test_the_stream_and_the_end_of_a_session_have_no_message() -> None:
    session = {"mcp-session-id": "abc", "mcp-protocol-version": "2025-11-25"}
    assert read("GET", session, MISSING) == Mcp("stream", version="2025-11-25")
    assert read("DELETE", session, MISSING) == Mcp("end", version="2025-11-25")
    assert read("GET", {"accept": "text/event-stream"}, MISSING) is None
    assert read("PUT", session, MISSING) is None
    odd = read("GET", {"mcp-session-id": "a b"}, MISSING)
    assert odd is not None
    assert odd.fault is Reason.MALFORMED_MCP_SESSION


@pytest.mark.parametrize("body", [MISSING, None, 1, "x", [], {}, {"method": "ping"}, [1], [[CALL]]])
def test_what_nobody_takes_for_a_message_is_none(body: Any) -> None:
    assert read("POST", JSON, body) is None
    assert fault(body, MODERN) is Reason.MALFORMED_MCP_MESSAGE  # its sender says that it is MCP


def test_json_rpc_that_is_not_mcp_is_a_fault_and_no_message() -> None:
    assert fault({"jsonrpc": "2.0", "id": 1, "method": "eth_call"}) is Reason.MALFORMED_MCP_MESSAGE


def test_the_2026_revision_names_everything_twice() -> None:
    body = changed(params=CALL["params"] | {"_meta": {VERSION_KEY: "2026-07-28"}})
    named = MODERN | {"mcp-method": "tools/call", "mcp-name": "t"}
    assert message(body, named).version == "2026-07-28"
    assert message(body, named | {"mcp-name": "=?base64?dA==?="}).name == "t"
    without = [{"mcp-method": "tools/call"}, {"mcp-name": "t"}, {}]
    assert [fault(body, MODERN | headers) for headers in without] == [Reason.MALFORMED_MCP_HEADERS] * 3
    assert (
        fault(changed(params={"name": "t"}), JSON | {"mcp-method": "tools/call"}) is None
    )  # an older one may


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("t", "t"),
        ("=?base64?dA==?=", "t"),
        ("=?base64?w6k=?=", "é"),
        ("=?base64?dB==?=", None),
        ("=?base64?/w==?=", None),
        ("=?base64?d?=", None),
        ("=?base64?é?=", None),
    ],
)
def test_a_header_carries_what_it_cannot_hold_in_base64(text: str, value: str | None) -> None:
    assert decoded(text) == value


def test_who_speaks_mcp_is_told_by_headers() -> None:
    assert speaks({"mcp-session-id": "a"})
    assert not speaks({"accept": "text/event-stream"})
