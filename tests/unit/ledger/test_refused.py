"""What policy did not permit is counted by what was wanted; what nobody can judge is left out."""

from __future__ import annotations

from typing import Any

import pytest

from authz.ledger import refused
from authz.ledger.refused import Found, Refused
from tests import ledgers
from tests.workers import Worker

DENIED = {
    "decision": "deny",
    "reason_code": "tool_not_permitted",
    "identity_assurance": "jwt",
    "agent_id": "billing-agent",
    "action": "http",
    "method": "GET",
    "endpoint": "http://ehr.example/patients/1/records",
    "tool": "ehr.read",
}


async def counted(worker: Worker, *decisions: dict[str, Any]) -> Found:
    async with worker.running() as ledger:
        for number, members in enumerate(decisions, start=1):
            await ledger.append("decision", ledgers.decision(number) | DENIED | members)
    return refused.refused(worker.settings.ledger_directory.parent)


async def test_equal_ones_are_counted_together_with_would_block(worker: Worker) -> None:
    blocked = {"decision": "would_block", "mode": "shadow", "policy_decision": "deny"}
    found = await counted(worker, {}, blocked, {"endpoint": "https://ehr.example/patients/1/records"})
    plain = Refused(
        "billing-agent", "GET", "ehr.example", 80, "/patients/1/records", "ehr.read", "tool_not_permitted"
    )
    assert found.requests[plain] == 2
    assert {request.port for request in found.requests} == {80, 443}
    assert not found.left_out


@pytest.mark.parametrize(
    "members",
    [
        {"decision": "allow"},
        {"decision": "approval_needed", "reason_code": "approval_required"},
        {"reason_code": "malformed_path"},
        {"reason_code": "identity_invalid"},
        {"reason_code": "argument_not_permitted"},
    ],
)
async def test_what_data_does_not_permit_by_a_name_alone_is_not_counted(
    worker: Worker, members: dict[str, Any]
) -> None:
    found = await counted(worker, members)
    assert not found.requests
    assert not found.left_out


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"identity_assurance": "header"}, "nobody knows surely who asked"),
        ({"identity_assurance": "none"}, "nobody knows surely who asked"),
        ({"action": "tunnel"}, "a tunnel or an MCP message"),
        ({"action": "mcp"}, "a tunnel or an MCP message"),
        ({"endpoint": "unknown"}, "no address"),
    ],
)
async def test_what_nobody_can_judge_is_left_out(worker: Worker, members: dict[str, Any], why: str) -> None:
    found = await counted(worker, members)
    assert (dict(found.requests), dict(found.left_out)) == ({}, {why: 1})
