"""What the sample MCP agent tries: an allowed call, one with an argument that is not, and a padded one.

In: a running gateway, the server behind it, the issuer. Out: an Outcome for each, for the same table as the
plain requests.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from authz.up import mcp_agent, records
from authz.up.deployment import Deployment
from authz.up.issuer import SampleIssuer
from authz.up.mcp_server import McpUpstream
from authz.up.traffic import ALLOW, TOKEN, Attempt, Expected, Outcome

AGENT: Final = "clinical-agent"
TOOL: Final = "summarize_record"
CALLS: Final[list[tuple[str, dict[str, Any], Expected]]] = [
    ("calls an MCP tool", {"patient": "7"}, ALLOW),
    (
        "calls it with an argument too large",
        {"patient": "7", "max_words": 1_000_000},
        Expected(403, "deny", "argument_not_permitted"),
    ),
    ("calls it padded", {"patient": "7" * 70_000}, Expected(413, "deny", "body_too_large")),
]


def play(deployment: Deployment, issuer: SampleIssuer, server: McpUpstream) -> list[Outcome]:
    """Each call in a session of its own, then the records that they left."""
    played = [_call(deployment, issuer, server, *call) for call in CALLS]
    written = records.decisions(deployment.settings.ledger_directory)
    return [
        Outcome(attempt, called.status, called.ms, received, written.get(called.decision_id, {}))
        for attempt, called, received in played
    ]


def _call(
    deployment: Deployment,
    issuer: SampleIssuer,
    server: McpUpstream,
    tries: str,
    arguments: dict[str, Any],
    expected: Expected,
) -> tuple[Attempt, mcp_agent.Called, dict[str, Any]]:
    before = len(server.called)
    headers = {TOKEN: issuer.token(AGENT)}
    called = asyncio.run(mcp_agent.call(deployment.proxy, headers, TOOL, arguments))
    received: dict[str, Any] = {"headers": {}} if len(server.called) > before else {}
    return Attempt(AGENT, tries, "POST", mcp_agent.URL, expected), called, received
