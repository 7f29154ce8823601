"""The reference forward proxy: destinations by name, and no way into private networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from authz.up import gateway, records
from authz.up.deployment import ROOT
from authz.up.places import LOOPBACK, Ports
from tests.e2e.stack import Stack, running

FORWARD = ROOT / "envoy/forward-proxy.yaml"
LOOPBACK_RANGES = ("127.0.0.0",)
PRIVATE = """
    10.0.0.1 172.16.0.1 192.168.0.1 169.254.169.254 100.64.0.1 0.0.0.0 [fd00::1] [fe80::1]
""".split()
DISGUISED = (
    "2130706433 0x7f.1 127.1 017700000001 [::ffff:127.0.0.1] [2002:7f00:1::] [64:ff9b::7f00:1]".split()
)
POLICY = """package aegis

# Everything is allowed here: what keeps the agent out is Envoy's address guard.
decision := {"decision": "allow", "reason_code": "policy_compliant", "obligations": tunnel} if input.version

default tunnel := {}

tunnel := {"tunnel": "opaque"} if input.action.kind == "tunnel"
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory: Path = tmp_path_factory.mktemp("forward")
    (directory / "rego/aegis").mkdir(parents=True)
    (directory / "rego/aegis/policy.rego").write_text(POLICY)
    with running(directory / "var", policy=directory / "rego", envoy=False) as started:
        yield started


@pytest.fixture(scope="module")
def guarded(stack: Stack) -> int:
    """The proxy as the reference file has it."""
    return start(stack, "envoy-guarded", guard=True)


@pytest.fixture(scope="module")
def open_to_loopback(stack: Stack) -> int:
    """The same, but loopback may be reached: there is no other network to try it with."""
    return start(stack, "envoy-open", guard=False)


def start(stack: Stack, name: str, *, guard: bool) -> int:
    port = Ports.free().envoy
    tree = gateway.configure(FORWARD, stack.deployment.addresses(port, name))
    if not guard:
        _permit_loopback(tree)
    stack.deployment.start_envoy(tree, name)
    return port


def _permit_loopback(tree: dict[str, Any]) -> None:
    (listener,) = tree["static_resources"]["listeners"]
    (rbac,) = [
        each["typed_config"]
        for each in gateway.connection_manager(listener)["http_filters"]
        if each["name"] == "envoy.filters.http.rbac"
    ]
    policy = rbac["rules"]["policies"]["private-addresses"]
    before = len(policy["permissions"])
    policy["permissions"] = [
        permission
        for permission in policy["permissions"]
        if permission["matcher"]["typed_config"]["upstream_ip"]["address_prefix"] not in LOOPBACK_RANGES
    ]
    assert len(policy["permissions"]) == before - len(LOOPBACK_RANGES)


def test_a_destination_is_found_by_its_name(stack: Stack, open_to_loopback: int) -> None:
    with stack.client(proxy=proxy(open_to_loopback)) as client:
        answer = client.get(f"http://localhost:{stack.upstream.port}/found?by=name")
    assert answer.status_code == 200
    assert answer.json()["path"] == "/found?by=name"
    assert answer.json()["headers"]["host"] == f"localhost:{stack.upstream.port}"
    assert stack.record(answer)["endpoint"] == f"http://localhost:{stack.upstream.port}/found"


def test_nobody_without_a_token_gets_out(stack: Stack, open_to_loopback: int) -> None:
    with stack.client("", proxy=proxy(open_to_loopback)) as client:
        assert client.get(f"http://localhost:{stack.upstream.port}/").status_code == 401


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]"])
def test_the_guard_keeps_agents_out_of_loopback_by_name_and_by_address(
    stack: Stack, guarded: int, host: str
) -> None:
    before = len(stack.upstream.seen)
    status, headers, body = get(stack, guarded, f"{host}:{stack.upstream.port}")
    assert (status, body) == (403, b"RBAC: access denied")
    assert stack.record_of(headers)["decision"] == "allow"  # policy did: the guard comes after it
    assert len(stack.upstream.seen) == before


@pytest.mark.parametrize("address", PRIVATE)
def test_the_guard_keeps_agents_out_of_private_ranges(stack: Stack, guarded: int, address: str) -> None:
    status, _, body = get(stack, guarded, address)
    assert (status, body) == (403, b"RBAC: access denied")


@pytest.mark.parametrize("address", DISGUISED)
def test_an_address_in_disguise_is_denied_before_the_guard(stack: Stack, guarded: int, address: str) -> None:
    status, headers, _ = get(stack, guarded, address)
    assert (status, stack.record_of(headers)["reason_code"]) == (400, "malformed_host")


def get(stack: Stack, port: int, authority: str) -> tuple[int, dict[str, str], bytes]:
    return stack.raw(f"GET http://{authority}/latest HTTP/1.1\nhost: {authority}\n{{token}}", port=port)


def test_a_tunnel_that_policy_permits_is_opened_and_recorded_as_opaque(
    stack: Stack, open_to_loopback: int
) -> None:
    # An https URL makes the client send CONNECT first; the upstream speaks no TLS, so that fails inside it.
    before = records.decisions(stack.ledger)
    with tunnelling(stack, open_to_loopback) as client, pytest.raises(httpx.TransportError):
        client.get(f"https://localhost:{stack.upstream.port}/")
    after = records.decisions(stack.ledger)
    (record,) = [record for key, record in after.items() if key not in before]
    assert (record["decision"], record["action"]) == ("allow", "tunnel")
    assert record["obligations"] == {"tunnel": "opaque"}


def test_the_guard_holds_for_tunnels_too(stack: Stack, guarded: int) -> None:
    with tunnelling(stack, guarded) as client, pytest.raises(httpx.ProxyError, match="403"):
        client.get(f"https://localhost:{stack.upstream.port}/")


def tunnelling(stack: Stack, port: int) -> httpx.Client:
    """A client whose token goes where a CONNECT carries it."""
    headers = {"proxy-authorization": f"Bearer {stack.issuer.token('clinical-agent')}"}
    return httpx.Client(proxy=httpx.Proxy(proxy(port), headers=headers), trust_env=False)


def proxy(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"
