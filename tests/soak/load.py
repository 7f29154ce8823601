"""The agents of the soak: the sample traffic over plain HTTP and over MCP, and what they were told.

In: a running gateway. Out: Seen. Half of the plain requests are ones that nobody has asked before; some are
allowed, most are denied, each for another reason.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

import httpx
import httpx2
from mcp import MCPError

from authz.up import mcp_agent
from authz.up.mcp_traffic import AGENT, CALLS
from authz.up.traffic import DECISION_ID, TOKEN, Attempt, sample
from tests.e2e.stack import Stack

AGENTS = 6
PAUSE_S = 0.06  # between the requests of one agent: a steady load, not a flood
MCP_PAUSE_S = 1.0  # between the sessions of the MCP agent, each of some requests
ERAS: tuple[mcp_agent.Mode, ...] = ("legacy", "auto", "2026-07-28")
TOKEN_LIFE_S = 1800


@dataclass
class Seen:
    """What agents were told, and what was done to the deployment."""

    told: dict[str, bool] = field(default_factory=dict)  # decision id -> whether the upstream was reached
    statuses: Counter[str] = field(default_factory=Counter)
    mcp: Counter[str] = field(default_factory=Counter)  # what the SDK told its caller
    unnamed: int = 0  # answers of the upstream that name no record
    latencies: list[float] = field(default_factory=list)  # seconds, of the quiet half
    kills: Counter[str] = field(default_factory=Counter)
    restarts_s: dict[str, list[float]] = field(default_factory=dict)  # until it was ready again
    away: list[tuple[datetime, datetime]] = field(default_factory=list)  # the worker, from kill to ready
    memory: list[dict[str, float]] = field(default_factory=list)  # MB by process, through the quiet half
    quiet_since: datetime | None = None

    def tell(self, status: int, name: str) -> None:
        if name:
            self.told[name] = status == 200
        elif status == 200:
            self.unnamed += 1


async def plain_agent(stack: Stack, seen: Seen, number: int, ends: float) -> None:
    """Plays the sample traffic again and again."""
    async with httpx.AsyncClient(proxy=stack.deployment.proxy, trust_env=False, timeout=15) as client:
        fresh: list[Attempt] = []
        renewed = 0.0
        for turn in itertools.count():
            if time.monotonic() > ends:
                return
            if not fresh or time.monotonic() - renewed > TOKEN_LIFE_S:
                fresh, renewed = sample(stack.issuer), time.monotonic()
            attempt = fresh[turn % len(fresh)]
            url = attempt.url.replace("/17/", f"/{number}-{turn}/") if turn % 2 else attempt.url
            await _send(client, attempt, url, seen)
            await asyncio.sleep(PAUSE_S)


async def _send(client: httpx.AsyncClient, attempt: Attempt, url: str, seen: Seen) -> None:
    headers = {TOKEN: attempt.token} if attempt.token else {}
    headers |= {"content-type": "application/json"} if attempt.content else {}
    started = time.perf_counter()
    try:
        answer = await client.request(attempt.method, url, headers=headers, content=attempt.content or None)
    except httpx.HTTPError as error:
        seen.statuses[type(error).__name__] += 1
        return
    if seen.quiet_since:
        seen.latencies.append(time.perf_counter() - started)
    seen.statuses[str(answer.status_code)] += 1
    seen.tell(answer.status_code, answer.headers.get(DECISION_ID, ""))


async def sdk_agent(stack: Stack, seen: Seen, ends: float) -> None:
    """Calls tools of the MCP server with the official SDK, in a session of its own each time."""
    turns = itertools.cycle(itertools.product(ERAS, CALLS))
    while time.monotonic() < ends:
        era, (_, arguments, _) = next(turns)
        headers = {TOKEN: stack.issuer.token(AGENT)}
        try:
            called = await mcp_agent.call(stack.deployment.proxy, headers, "summarize_record", arguments, era)
        except (MCPError, httpx2.HTTPError, ExceptionGroup, IndexError) as error:  # no session, or it broke
            seen.mcp[type(error).__name__] += 1
        else:
            seen.mcp[f"{'refused' if called.refused else 'carried out'} {called.status}"] += 1
            seen.tell(called.status, called.decision_id)
        await asyncio.sleep(MCP_PAUSE_S)
