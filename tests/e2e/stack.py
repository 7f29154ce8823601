"""Real processes for the end-to-end tests: Envoy, OPA, worker and follower in a scratch directory.

Whatever a test recorded is verified from disk before the processes end.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from authz.up import proof, records
from authz.up.deployment import POLICY, Deployment
from authz.up.issuer import SampleIssuer
from authz.up.places import LOOPBACK, Ports, occupied
from authz.up.processes import Processes
from authz.up.traffic import DECISION_ID, TOKEN
from authz.up.upstream import Upstream


@dataclass
class Stack:
    """One running deployment, and what a test does with it."""

    deployment: Deployment
    issuer: SampleIssuer
    upstream: Upstream

    @property
    def processes(self) -> Processes:
        return self.deployment.processes

    @property
    def ledger(self) -> Path:
        return self.deployment.settings.ledger_directory

    @property
    def bundles(self) -> Path:
        """Where its policy versions lie."""
        return self.deployment.settings.path(self.deployment.settings.follower.bundle_directory)

    def client(self, agent: str = "clinical-agent", **options: Any) -> httpx.Client:
        """An agent's HTTP client behind the gateway, with a token (none for "")."""
        headers = {TOKEN: self.issuer.token(agent)} if agent else {}
        options = {"proxy": self.deployment.proxy, "timeout": 10} | options
        return httpx.Client(trust_env=False, headers=headers, **options)

    def raw(self, head: str, connection: str = "close", port: int = 0) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer to exactly this head; a token is put in for {token}."""
        head = head.replace("{token}", f"{TOKEN}: {self.issuer.token('clinical-agent')}")
        lines = [*head.split("\n"), f"connection: {connection}", "", ""]
        gateway = (LOOPBACK, port or self.deployment.ports.envoy)
        with socket.create_connection(gateway, timeout=10) as client:
            client.sendall("\r\n".join(lines).encode("latin-1"))
            with http.client.HTTPResponse(client) as answer:
                answer.begin()
                headers = {name.lower(): value for name, value in answer.getheaders()}
                return answer.status, headers, answer.read()

    def record(self, response: httpx.Response) -> dict[str, Any]:
        """The record that the answer names; {} when it names none, or it is not there."""
        return self.record_of(response.headers)

    def record_of(self, headers: Mapping[str, str]) -> dict[str, Any]:
        return records.decisions(self.ledger).get(headers.get(DECISION_ID, ""), {})

    def verify(self) -> None:
        """The ledger holds, on every level."""
        found = proof.verify(self.ledger.parent, self.deployment.trust)
        assert found.status == 0, (found.report, found.said)


@contextmanager
def running(
    state: Path,
    *,
    policy: Path = POLICY,
    envoy: bool = True,
    mcp: int | None = None,
    policy_settings: dict[str, Any] | None = None,
    **overrides: dict[str, Any],
) -> Iterator[Stack]:
    """A deployment below `state`; its ledger is verified at the end. `mcp` is a sample MCP server's port,
    `policy_settings` the section `policy`, `overrides` the others.
    """
    ports = Ports.free()
    if policy_settings:
        overrides = overrides | {"policy": policy_settings}
    with occupied(state) as places, Upstream(ports.upstream) as upstream, Processes(places.logs) as processes:
        deployment = Deployment(places, ports, processes, overrides, mcp)
        issuer, _ = deployment.prepare(policy)
        deployment.start_follower()
        deployment.start_opa()
        deployment.start_worker()
        if envoy:
            deployment.start_envoy()
        stack = Stack(deployment, issuer, upstream)
        yield stack
        stack.verify()
