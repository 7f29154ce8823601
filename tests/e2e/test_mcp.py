"""Agent and server made with the official SDK, Envoy and Aegis between them; and many ways around."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from mcp import MCPError

from authz.up import gateway, records
from authz.up.deployment import GATEWAY, ROOT
from authz.up.mcp_agent import URL, Called, Mode, call
from authz.up.mcp_server import McpUpstream
from authz.up.places import Ports
from authz.up.traffic import TOKEN
from tests.e2e.stack import Stack, running

ERAS: list[Mode] = ["legacy", "auto", "2026-07-28"]
JSON = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
MODERN = JSON | {"mcp-protocol-version": "2026-07-28"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
SAFE = {"patient": "7"}
CHARGE = {"amount_cents": 1, "currency": "EUR"}


@pytest.fixture(scope="module")
def server() -> Iterator[McpUpstream]:
    with McpUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def mcp(tmp_path_factory: pytest.TempPathFactory, server: McpUpstream) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("mcp"), mcp=server.port) as started:
        yield started


def as_agent(stack: Stack, name: str = "clinical-agent") -> dict[str, str]:
    return {TOKEN: stack.issuer.token(name)}


def record(stack: Stack, called: Called) -> dict[str, Any]:
    return records.decisions(stack.ledger)[called.decision_id]


@pytest.mark.parametrize("era", ERAS)
async def test_an_agent_works_through_the_gateway_without_knowing_it(
    mcp: Stack, server: McpUpstream, era: Mode
) -> None:
    before = len(server.called)
    called = await call(mcp.deployment.proxy, as_agent(mcp), "summarize_record", SAFE, era)
    assert (called.status, called.refused) == (200, False)
    assert called.text.startswith("patient 7")
    assert list(server.called)[before:] == ["summarize_record"]
    found = record(mcp, called)
    assert (found["decision"], found["protocol"], found["tool"]) == ("allow", "mcp", "ehr.summarize")
    assert found["mcp"] == {"message": "request", "method": "tools/call", "name": "summarize_record"}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("tool", "arguments", "status", "reason"),
    [
        ("charge", CHARGE, 403, "tool_not_permitted"),
        ("summarize_record", SAFE | {"max_words": 501}, 403, "argument_not_permitted"),
        ("no_such_tool", {}, 403, "tool_unknown"),
        ("summarize_record", {"patient": "x" * 70_000}, 413, "body_too_large"),
    ],
)
async def test_it_is_refused_readably(
    mcp: Stack, server: McpUpstream, era: Mode, tool: str, arguments: dict[str, Any], status: int, reason: str
) -> None:
    before = len(server.called)
    called = await call(mcp.deployment.proxy, as_agent(mcp), tool, arguments, era)
    assert (called.status, called.refused) == (status, True)
    assert reason in called.text
    assert called.decision_id in called.text
    assert len(server.called) == before
    assert record(mcp, called)["reason_code"] == reason


async def test_who_is_not_known_hears_that_from_the_sdk(mcp: Stack) -> None:
    with pytest.raises((MCPError, ExceptionGroup)) as caught:
        await call(mcp.deployment.proxy, {}, "summarize_record", SAFE, "legacy")
    error: BaseException = caught.value
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    assert "identity_missing" in str(error)


def body(name: str = "charge", arguments: Any = CHARGE, **members: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments, "_meta": META}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params} | members


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


NAMED = MODERN | {"mcp-method": "tools/call", "mcp-name": "charge"}
POSING = NAMED | {"mcp-name": "summarize_record"}
PLAIN = text(body())
ENDS = PLAIN[:-1]
SAFE_PARAMS = text(body("summarize_record", SAFE)["params"])
# A call of `charge`, which the agent does not have, each time as something that a lax reader lets pass.
WAYS: dict[str, tuple[dict[str, str], bytes, str]] = {
    "plainly": (NAMED, PLAIN, "tool_not_permitted"),
    "in a batch": (NAMED, text([body("summarize_record", SAFE), body()]), "malformed_mcp_batch"),
    "with a second params": (NAMED, ENDS + b', "params": ' + SAFE_PARAMS + b"}", "malformed_body"),
    "with a second, escaped name": (
        NAMED, PLAIN.replace(b'"name"', b'"name": "summarize_record", "\\u006eame"'), "malformed_body"),
    "with Params in other letters": (
        NAMED, text(body("summarize_record", SAFE) | {"Params": body()["params"]}), "malformed_mcp_member"),
    "with Name in other letters": (
        NAMED,
        text(body(params=body("summarize_record", SAFE)["params"] | {"Name": "charge"})),
        "malformed_mcp_member",
    ),
    "under another name in the header": (POSING, PLAIN, "malformed_mcp_headers"),
    "under another method in the header": (
        NAMED | {"mcp-method": "tools/list"}, PLAIN, "malformed_mcp_headers"),
    "as text": (NAMED | {"content-type": "text/plain"}, PLAIN, "malformed_mcp_content_type"),
    "as a form": (
        NAMED | {"content-type": "application/x-www-form-urlencoded"}, PLAIN, "malformed_body"),
    "in UTF-16": (
        NAMED | {"content-type": "application/json; charset=utf-16"},
        json.dumps(body()).encode("utf-16"),
        "malformed_body",
    ),
    "behind a byte order mark": (NAMED, b"\xef\xbb\xbf" + PLAIN, "malformed_body"),
    "behind another message": (NAMED, text(body("summarize_record", SAFE)) + b"\n" + PLAIN, "malformed_body"),
    "compressed": (NAMED | {"content-encoding": "gzip"}, gzip.compress(PLAIN), "malformed_body"),
    "padded over the limit": (NAMED, b" " * 70_000 + PLAIN, "body_too_large"),
    "without an id": (NAMED, text({n: v for n, v in body().items() if n != "id"}), "malformed_mcp_id"),
    "with an id that no reader keeps": (NAMED, text(body(id=2**53 + 1)), "malformed_body"),
    "as JSON-RPC 1.0": (NAMED, text(body(jsonrpc="1.0")), "malformed_mcp_jsonrpc"),
    "with the name in an array": (NAMED, text(body(["charge"])), "malformed_mcp_params"),
    "with the name in other letters": (
        NAMED | {"mcp-name": "CHARGE"}, text(body("CHARGE")), "tool_unknown"),
    "escaped": (NAMED, PLAIN.replace(b'"charge"', b'"\\u0063harge"'), "tool_not_permitted"),
    "as the answer to a request": (
        MODERN, text(body(result={})), "malformed_mcp_message"),
}  # fmt: skip


@pytest.mark.parametrize("way", list(WAYS))
def test_a_forbidden_call_does_not_slip_past(mcp: Stack, server: McpUpstream, way: str) -> None:
    headers, content, reason = WAYS[way]
    before = list(server.called)
    with mcp.client() as client:
        answer = client.post(URL, content=content, headers=headers)
    assert answer.status_code in (400, 403, 413)
    found = mcp.record(answer)
    assert (found["decision"], found["reason_code"], found["protocol"]) == ("deny", reason, "mcp")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["data"]["reason_code"] == reason
    assert list(server.called) == before


def test_a_forbidden_call_does_not_slip_past_on_another_path_or_method(
    mcp: Stack, server: McpUpstream
) -> None:
    before = list(server.called)
    with mcp.client() as client:
        answers = [
            client.post(f"{URL}/", content=PLAIN, headers=NAMED),
            client.post(f"{URL}?x=1", content=PLAIN, headers=NAMED),
            client.post(URL.replace("/mcp", "/%6dcp"), content=PLAIN, headers=NAMED),
            client.post(URL.replace("/mcp", "/MCP"), content=PLAIN, headers=NAMED),
            client.put(URL, content=PLAIN, headers=NAMED),
            client.request("GET", URL, content=PLAIN, headers=NAMED),
            client.get(URL),
        ]
    assert {answer.status_code for answer in answers} <= {400, 403}
    assert {mcp.record(answer)["decision"] for answer in answers} == {"deny"}
    assert list(server.called) == before


def test_the_same_call_by_who_may_is_carried_out(mcp: Stack, server: McpUpstream) -> None:
    """The ways above fail for what they are, not since nothing passes."""
    headers = MODERN | {"mcp-method": "tools/call", "mcp-name": "summarize_record"}
    with mcp.client() as client:
        answer = client.post(URL, content=text(body("summarize_record", SAFE)), headers=headers)
    assert answer.status_code == 200
    assert server.called[-1] == "summarize_record"


@pytest.fixture
def beside(mcp: Stack, server: McpUpstream) -> Iterator[tuple[dict[str, Any], int]]:
    """The configuration with Envoy's own mcp filter, on a port of its own, to be started as `second`."""
    port = Ports.free().envoy
    yield (
        gateway.configure(ROOT / "envoy/mcp.yaml", mcp.deployment.addresses(port, "second", mcp=server.port)),
        port,
    )
    mcp.processes.stop("second")


async def test_with_envoys_mcp_filter_in_front(mcp: Stack, beside: tuple[dict[str, Any], int]) -> None:
    tree, port = beside
    mcp.deployment.start_envoy(tree, "second")
    for era in ERAS:
        called = await call(f"http://127.0.0.1:{port}", as_agent(mcp), "summarize_record", SAFE, era)
        assert called.status == 200
        called = await call(f"http://127.0.0.1:{port}", as_agent(mcp), "charge", CHARGE, era)
        assert "tool_not_permitted" in called.text


def test_what_envoy_read_otherwise_is_denied(mcp: Stack, beside: tuple[dict[str, Any], int]) -> None:
    """In the place of the mcp filter one that says the same of everything: it read another message."""
    tree, port = beside
    manager = gateway.connection_manager(tree["static_resources"]["listeners"][0])
    manager["http_filters"][0] = {
        "name": "other",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
            "metadata": [{"metadata_namespace": "envoy.filters.http.mcp", "value": {"method": "tools/list"}}],
        },
    }
    mcp.deployment.start_envoy(tree, "second")
    headers = MODERN | {"mcp-method": "tools/call", "mcp-name": "summarize_record"}
    with mcp.client(proxy=f"http://127.0.0.1:{port}") as client:
        answer = client.post(URL, content=text(body("summarize_record", SAFE)), headers=headers)
    assert mcp.record(answer)["reason_code"] == "malformed_mcp_metadata"


def test_policy_data_alone_requires_mcp(mcp: Stack, server: McpUpstream) -> None:
    """Where Envoy's route does not say so, the destination's data does."""
    port = Ports.free().envoy
    tree = gateway.configure(GATEWAY, mcp.deployment.addresses(port, "third", mcp=server.port))
    manager = gateway.connection_manager(tree["static_resources"]["listeners"][0])
    (host,) = [each for each in manager["route_config"]["virtual_hosts"] if each["name"] == "mcp"]
    del host["routes"][1]["typed_per_filter_config"]
    before = list(server.called)
    mcp.deployment.start_envoy(tree, "third")
    try:
        with mcp.client(proxy=f"http://127.0.0.1:{port}") as client:
            for headers, content, reason in WAYS.values():
                answer = client.post(URL, content=content, headers=headers)
                assert mcp.record(answer)["reason_code"] == reason
            answer = client.get(URL)
            assert mcp.record(answer)["reason_code"] == "mcp_required"
    finally:
        mcp.processes.stop("third")
    assert list(server.called) == before
