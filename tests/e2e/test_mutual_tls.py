"""Mutual TLS on both sides of a real Envoy: agents known by certificate, an authorizer only Envoy reaches."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from authz.cli.main import app
from authz.up import gateway
from authz.up.deployment import GATEWAY, POLICY
from authz.up.places import LOOPBACK, Ports
from tests.e2e.stack import Stack, running
from tests.pki import Authority, Certificate

HOST = "internal-ehr.myorg.example"
RECORDS = "/patients/17/records"
PARTS = GATEWAY.parent / "parts/mtls.yaml"
DOMAIN = "spiffe://aegis.example"
CLINICAL = f"{DOMAIN}/ns/clinic/sa/clinical"


class Site:
    """Two listeners' certificates, and those of agents."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory, self.ca = directory, Authority(directory)
        self.ca.sign("aegis", "aegis.example")
        self.ca.sign("envoy", f"{DOMAIN}/envoy")
        self.ca.sign("gateway", HOST)
        self.clinical = self.ca.sign("clinical", CLINICAL)

    def listen(self, port: int) -> dict[str, Any]:
        tls = {"certificate": "aegis.pem", "private_key": "aegis.key", "client_ca": "ca.pem"}
        files: dict[str, Any] = {name: str(self.directory / file) for name, file in tls.items()}
        return {"check": f"{LOOPBACK}:{port}", "tls": files | {"envoy": [f"{DOMAIN}/envoy"]}}

    def gateway(self, tree: dict[str, Any], port: int, client: str = "envoy") -> dict[str, Any]:
        """`tree` with the reference's parts; to Aegis Envoy presents the certificate `client`."""
        text = PARTS.read_text().replace("/etc/aegis/tls/", f"{self.directory}/")
        parts = yaml.safe_load(text.replace(f"{self.directory}/envoy.", f"{self.directory}/{client}."))
        for listener in tree["static_resources"]["listeners"]:
            listener["filter_chains"][0].update(parts["filter_chain"])
        (cluster,) = (each for each in tree["static_resources"]["clusters"] if each["name"] == "aegis")
        cluster.update(parts["authorizer"])
        address = {"socket_address": {"address": LOOPBACK, "port_value": port}}
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [{"endpoint": {"address": address}}]
        return tree


@dataclass
class Secured:
    stack: Stack
    site: Site
    check: int

    def get(
        self,
        own: Certificate | None,
        headers: Mapping[str, str] | None = None,
        port: int = 0,
        target: str = f"GET {RECORDS}",
    ) -> tuple[int, dict[str, Any]]:
        """Status, and the record that the answer names ({} for none)."""
        context = ssl.create_default_context(cafile=str(self.site.ca.own.certificate))
        if own is not None:
            context.load_cert_chain(own.certificate, own.key)
        address = (LOOPBACK, port or self.stack.deployment.ports.envoy)
        with (
            socket.create_connection(address, timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as secured,
        ):
            client = http.client.HTTPConnection(HOST)
            client.sock = secured
            client.request(*target.split(), headers=dict(headers or {}))
            answer = client.getresponse()
            answer.read()
            client.close()
            return answer.status, self.stack.record_of({k.lower(): v for k, v in answer.getheaders()})


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    root = tmp_path_factory.mktemp("mtls")
    site, port = Site(root / "tls"), Ports.free().upstream
    policy = shutil.copytree(POLICY, root / "policy")
    agents = policy / "agents/data.yaml"
    tree = yaml.safe_load(agents.read_text())
    tree["clinical-agent"]["identities"] = [CLINICAL]
    agents.write_text(yaml.safe_dump(tree))
    tools = policy / "tools/data.yaml"
    tree = yaml.safe_load(tools.read_text())
    tree["ehr.delete"] |= {
        "category": "credential_change",
        "sensitivity": "internal",
    }  # a row that wants mtls
    tools.write_text(yaml.safe_dump(tree))
    sections = {"listen": site.listen(port), "identity": {"trust_domains": ["aegis.example"]}}
    with running(root / "var", policy=policy, envoy=False, **sections) as stack:
        stack.deployment.start_envoy(site.gateway(stack.deployment.gateway(), port))
        yield Secured(stack, site, port)


def test_an_agent_is_known_by_its_certificate(secured: Secured) -> None:
    status, record = secured.get(secured.site.clinical)
    assert (status, record["decision"]) == (200, "allow")
    assert (record["agent_id"], record["identity_assurance"]) == ("clinical-agent", "mtls")
    assert record["identity_principal"] == CLINICAL
    assert record["endpoint"] == f"https://{HOST}{RECORDS}"


def test_a_token_of_the_same_agent_agrees_and_anothers_does_not(secured: Secured) -> None:
    token = secured.stack.issuer.token
    status, record = secured.get(secured.site.clinical, {"x-aegis-agent-token": token("clinical-agent")})
    assert (status, record["identity_assurance"], record["identity_key"]) == (
        200,
        "mtls",
        "sample-ed25519",
    )
    status, record = secured.get(secured.site.clinical, {"x-aegis-agent-token": token("billing-agent")})
    assert (status, record["reason_code"], record["agent_id"]) == (401, "identity_ambiguous", "unknown")


def test_a_certificate_that_policy_does_not_know_is_an_agent_without_permissions(secured: Secured) -> None:
    status, record = secured.get(secured.site.ca.sign("new", f"{DOMAIN}/ns/clinic/sa/new"))
    assert (status, record["reason_code"]) == (403, "agent_unknown")
    assert record["agent_id"] == f"{DOMAIN}/ns/clinic/sa/new"


def test_a_row_of_the_matrix_that_wants_mtls_takes_a_certificate_and_no_token_alone(
    secured: Secured,
) -> None:
    stack, port = secured.stack, Ports.free().envoy
    addresses = stack.deployment.addresses(port, "envoy-plain", upstream=stack.upstream.port)
    tree = secured.site.gateway(gateway.configure(GATEWAY, addresses), secured.check)
    for listener in tree["static_resources"]["listeners"]:
        del listener["filter_chains"][0]["transport_socket"]
    stack.deployment.start_envoy(tree, "envoy-plain")
    headers = {
        "x-aegis-agent-token": stack.issuer.token("clinical-agent", sid="s-1"),
        "x-aegis-action-id": "a-1",
    }
    lines = "\n".join(f"{name}: {value}" for name, value in headers.items())
    status, answered, _ = stack.raw(f"DELETE /patients/17 HTTP/1.1\nhost: {HOST}\n{lines}", port=port)
    weak = stack.record_of(answered)
    assert (status, weak["reason_code"], weak["identity_assurance"]) == (403, "assurance_too_low", "jwt")
    status, strong = secured.get(secured.site.clinical, headers, target="DELETE /patients/17")
    assert (status, strong["reason_code"], strong["identity_assurance"]) == (403, "approval_required", "mtls")
    assert strong["rule"] == weak["rule"] == "matrix/credential_change/internal"


def test_the_inventory_shows_who_was_known_by_what(secured: Secured) -> None:
    secured.get(secured.site.clinical)
    secured.get(secured.site.ca.sign("late", f"{DOMAIN}/ns/clinic/sa/late"))
    state = str(secured.stack.deployment.settings.state)
    done = CliRunner().invoke(app, ["agents", "--state", state, "--json"])
    agents = {agent["agent"]: agent for agent in json.loads(done.output)["agents"]}
    clinical = agents["clinical-agent"]
    assert clinical["identities"] == clinical["seen"]["principals"] == [CLINICAL]
    assert clinical["seen"]["assurances"]["mtls"] >= 1
    late = agents[f"{DOMAIN}/ns/clinic/sa/late"]
    assert (late["in_policy"], late["seen"]["decisions"]) == (False, {"deny": 1})
    assert "one source, several agents" in [flag["what"] for flag in late["seen"]["flags"]]


def test_a_forwarded_certificate_of_the_agents_own_making_is_ignored(secured: Secured) -> None:
    forged = {"x-forwarded-client-cert": f"By=x;URI={DOMAIN}/ns/admin"}
    status, record = secured.get(secured.site.clinical, forged)
    assert (status, record["agent_id"]) == (200, "clinical-agent")


@pytest.mark.parametrize("kind", ["no certificate", "another trust domain", "another CA"])
def test_who_has_no_certificate_of_ours_gets_no_connection(
    secured: Secured, tmp_path: Path, kind: str
) -> None:
    own = {
        "no certificate": None,
        "another trust domain": secured.site.ca.sign("other", "spiffe://evil.example/ns/clinic/sa/clinical"),
        "another CA": Authority(tmp_path).sign("forged", CLINICAL),
    }[kind]
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        secured.get(own)


def test_an_envoy_with_another_certificate_of_the_ca_is_refused_and_denies(secured: Secured) -> None:
    """An agent that runs an Envoy of its own, with the certificate that it has."""
    port, stack = Ports.free().envoy, secured.stack
    addresses = stack.deployment.addresses(port, "envoy-agents", upstream=stack.upstream.port)
    tree = secured.site.gateway(gateway.configure(GATEWAY, addresses), secured.check, client="clinical")
    for cluster in tree["static_resources"]["clusters"]:
        cluster.pop("health_checks", None)  # they succeed, but what is asked here is Check itself
    stack.deployment.start_envoy(tree, "envoy-agents")
    before = len(stack.upstream.seen)
    status, record = secured.get(secured.site.clinical, port=port)
    assert (status, record) == (503, {})
    assert len(stack.upstream.seen) == before
