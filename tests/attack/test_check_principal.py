"""Whoever reaches Check writes the CheckRequest: over TCP nothing that it says makes an agent of them."""

from pathlib import Path
from typing import Any

import pytest

from authz._pb.aegis_ext_authz_pb2 import CheckRequest
from tests.tokens import Issuer
from tests.worker import CheckWorker, message, serving

TCP: dict[str, Any] = {"listen": {"check": "127.0.0.1:0"}, "development": True}
SPIFFE = "spiffe://aegis.test/agent/admin"


def forged(worker: CheckWorker, token: str = "") -> CheckRequest:
    request = message(token=token, headers={"x-forwarded-client-cert": f"By=spiffe://x;URI={SPIFFE}"})
    source = request.attributes.source
    source.principal, source.service, source.certificate = SPIFFE, "admin", "-----BEGIN CERTIFICATE-----"
    request.attributes.context_extensions["aegis.agent"] = "admin"
    request.attributes.metadata_context.filter_metadata["envoy.filters.http.jwt_authn"].update(
        {"sub": "admin"}
    )
    return request


@pytest.mark.parametrize("settings", [TCP, {}], ids=["tcp", "socket"])
async def test_a_forged_principal_alone_is_nobody(tmp_path: Path, settings: dict[str, Any]) -> None:
    async with serving(tmp_path, **settings) as worker:
        answer, record = await worker.recorded(forged(worker))
        assert (answer.allowed, answer.http_status) == (False, 401)
        assert (record["reason_code"], record["agent_id"]) == ("identity_missing", "unknown")
        assert record["identity_assurance"] == "none"


async def test_over_tcp_even_a_valid_token_is_no_assurance(tmp_path: Path) -> None:
    """It could have been seen anywhere on its way: what was presented to us was presented by anybody."""
    async with serving(tmp_path, **TCP) as worker:
        for request in (message(token=worker.token()), forged(worker, worker.token())):
            answer, record = await worker.recorded(request)
            assert (answer.allowed, answer.http_status) == (False, 401)
            assert (record["reason_code"], record["identity_assurance"]) == ("identity_assurance", "none")
            assert record["agent_id"] == "unknown"
            assert "admin" not in repr(record)


async def test_over_tcp_an_operator_who_asks_for_it_has_it_on_record(tmp_path: Path) -> None:
    async with serving(tmp_path, **TCP, identity={"minimum_assurance": "none"}) as worker:
        answer, record = await worker.recorded(forged(worker, worker.token()))
        assert (answer.allowed, record["agent_id"]) == (True, "agent-1")
        assert record["identity_assurance"] == "none"
        answer, record = await worker.recorded(forged(worker, Issuer().token()))
        assert (answer.allowed, record["reason_code"]) == (False, "identity_invalid")


async def test_a_policy_can_ask_for_assurance_too(tmp_path: Path) -> None:
    rego = """
default decision := {"decision": "deny", "reason_code": "too_weak", "rule": "default"}
decision := {"decision": "allow", "reason_code": "permitted", "rule": "strong"} if {
    input.agent.assurance == "jwt"
}
"""
    async with serving(tmp_path, rego, **TCP, identity={"minimum_assurance": "none"}) as worker:
        answer, record = await worker.recorded(forged(worker, worker.token()))
        assert (answer.allowed, record["reason_code"]) == (False, "too_weak")


async def test_over_the_socket_the_token_alone_says_who_it_is(tmp_path: Path) -> None:
    async with serving(tmp_path) as worker:
        answer, record = await worker.recorded(forged(worker, worker.token()))
        assert (answer.allowed, record["agent_id"], record["identity_assurance"]) == (True, "agent-1", "jwt")
        assert "admin" not in repr(record)


async def test_the_agents_own_headers_of_ours_do_not_reach_the_upstream(tmp_path: Path) -> None:
    headers = {"X-Aegis-Decision": "allow", "x-aegis-agent": "admin", "proxy-authorization": "Bearer x"}
    async with serving(tmp_path) as worker:
        answer = await worker.check(message(token=worker.token(), headers=headers))
        assert answer.allowed
        assert {"x-aegis-agent-token", "x-aegis-decision", "x-aegis-agent"} <= set(answer.removed)
        assert "proxy-authorization" in answer.removed
