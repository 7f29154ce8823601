"""The sample agent that speaks MCP: the official SDK's client, its HTTP proxy set to the gateway.

In: a proxy, a token, a call. Out: what the SDK tells its caller, and the decision that the gateway named.
But for these two it knows nothing of the gateway.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, Literal

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from authz.up.mcp_server import HOST, PATH

URL: Final = f"http://{HOST}{PATH}"
DECISION_ID: Final = "x-aegis-decision-id"
TIMEOUT_S: Final = 10.0
Mode = Literal["legacy", "auto", "2026-07-28"]


@dataclass(frozen=True)
class Called:
    """What came of one call. `text` is the tool's answer, or what the SDK says instead."""

    status: int
    decision_id: str
    ms: float
    text: str
    refused: bool


async def call(
    proxy: str, headers: dict[str, str], tool: str, arguments: dict[str, Any], mode: Mode = "auto"
) -> Called:
    """Open a session, call `tool` once, and close it. Raises MCPError when there is no session."""
    answers: list[httpx2.Response] = []

    async def keep(response: httpx2.Response) -> None:
        if b'"tools/call"' in response.request.content:
            answers.append(response)

    http = httpx2.AsyncClient(
        proxy=proxy,
        trust_env=False,
        headers=headers,
        timeout=TIMEOUT_S,
        event_hooks={"response": [keep]},
    )
    async with http, Client(streamable_http_client(URL, http_client=http), mode=mode) as client:
        started = time.perf_counter()
        try:
            result = await client.call_tool(tool, arguments)
            text, refused = " ".join(getattr(part, "text", "") for part in result.content), False
        except MCPError as error:
            text, refused = str(error), True
        ms = (time.perf_counter() - started) * 1000
        answer = answers[0]
        return Called(answer.status_code, answer.headers.get(DECISION_ID, ""), ms, text, refused)
