"""What README.md and rego/README.md tell people to write and run, taken from there as it stands.

Only addresses are put in: a scratch directory for the system's, free ports, and the sample upstream.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import certifi
import httpx
import pytest
import yaml

from authz.config_file import load
from authz.up import gateway, proof
from authz.up.deployment import GATEWAY, POLICY, ROOT, program
from authz.up.issuer import SampleIssuer
from authz.up.places import LOOPBACK, Ports
from authz.up.probe import answers
from authz.up.processes import Processes
from authz.up.traffic import RECORDS, TOKEN
from authz.up.upstream import Upstream
from tests.e2e.stack import Stack, running

FLIGHTS = "http://flights.example/v1/flights?from=ZRH&to=LHR"
SYSTEM = {"/var/lib/aegis": "var", "/run/aegis": "run", "/etc/aegis": "etc"}


def blocks(file: Path, heading: str, language: str) -> list[str]:
    """The fenced blocks of one section."""
    section = file.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


class Scratch:
    """A directory that stands for the system's, with ports of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.ports = directory, Ports.free()
        for name in ("run", "etc"):
            (directory / name).mkdir(mode=0o700)
        shutil.copytree(POLICY, directory / "rego")
        ports = self.ports
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AEGIS_LISTEN__METRICS": f"{LOOPBACK}:{ports.metrics}",
            "AEGIS_FOLLOWER__METRICS": f"{LOOPBACK}:{ports.follower_metrics}",
            "AEGIS_FOLLOWER__BUNDLES": f"{LOOPBACK}:{ports.bundles}",
        }

    def here(self, text: str) -> str:
        for path, name in SYSTEM.items():
            text = text.replace(path, str(self.directory / name))
        return text

    def run(self, script: str) -> str:
        done = subprocess.run(
            ["bash", "-eu", "-c", script], cwd=self.directory, env=self.environment,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def envoy(self) -> Path:
        """The reference gateway as it stands, on this machine's addresses."""
        text = self.here(GATEWAY.read_text())
        text = text.replace("port_value: 10000", f"port_value: {self.ports.envoy}")
        file = self.directory / "gateway.yaml"
        file.write_text(text.replace("port_value: 10001", f"port_value: {self.ports.upstream}"))
        return file


@pytest.mark.timeout(300)
def test_the_recipe_for_ones_own_envoy(tmp_path: Path) -> None:
    scratch, heading = Scratch(tmp_path), "Put it before your own Envoy"
    settings_file = tmp_path / "aegis.yaml"
    settings_file.write_text(scratch.here(blocks(ROOT / "README.md", heading, "yaml")[0]))
    settings = load(settings_file, {})
    issuer = SampleIssuer(tmp_path / "issuer", settings.identity.jwks, settings.identity)
    once, each = (scratch.here(block) for block in blocks(ROOT / "README.md", heading, "bash"))
    said = scratch.run(once)
    lines = [line.partition("  #")[0].strip() for line in each.splitlines()]
    names = [line.split()[1] for line in lines]
    assert names == ["follow", "run", "serve"]
    opa = lines[1].replace("opa.json", str(tmp_path / "opa.json"), 1)
    assert [line for line in said.splitlines() if " run --server " in line] == [opa]
    with (
        Upstream(scratch.ports.upstream),
        Processes(tmp_path / "log", scratch.environment) as processes,
        httpx.Client(proxy=f"http://{LOOPBACK}:{scratch.ports.envoy}", trust_env=False, timeout=10) as client,
    ):
        for name, line in zip(names, lines, strict=True):
            processes.start(name, "bash", "-c", f"cd '{tmp_path}' && exec {line}")
        worker = f"{LOOPBACK}:{scratch.ports.metrics}"
        processes.wait("serve", lambda: answers(worker, "/readyz"), "being ready")
        processes.start("envoy", *gateway.command(program("envoy"), scratch.envoy()))
        processes.wait("envoy", lambda: answers(tmp_path / "run/envoy-admin.sock", "/ready"), "being ready")
        answer = client.get(RECORDS, headers={TOKEN: issuer.token("clinical-agent")})
        assert (answer.status_code, client.get(RECORDS).status_code) == (200, 401)
    assert proof.verify(tmp_path / "var/ledger", tmp_path / "trust.json").status == 0


def with_flights(directory: Path) -> Path:
    """The default policy with what rego/README.md says to add, in a copy."""
    source = directory / "rego"
    shutil.copytree(POLICY, source)
    for block in blocks(POLICY / "README.md", "Put your own agent behind it", "yaml")[:3]:
        file = source / block.splitlines()[0].removeprefix("# ").partition(":")[0]
        with file.open("a") as added:
            added.write(f"\n{block}")
    return source


def gateway_with_flights(directory: Path) -> Path:
    """The reference gateway with the virtual host and the cluster of rego/README.md."""
    host, cluster = blocks(POLICY / "README.md", "Put your own agent behind it", "yaml")[3:]
    text = GATEWAY.read_text()
    for block, before, indent in (
        (host, "                    # Everything else is asked about", 20),
        (cluster, "    # The sample upstream stands for", 4),
    ):
        lines = "".join(f"{' ' * indent}{line}\n" for line in block.splitlines())
        assert text.count(before) == 1
        text = text.replace(before, lines + before)
    file = directory / "gateway.yaml"
    file.write_text(text.replace("/etc/ssl/certs/ca-certificates.crt", certifi.where()))
    return file


def to_the_sample(tree: dict[str, Any], port: int) -> dict[str, Any]:
    """`flights.example` is the sample upstream here, without TLS."""
    (cluster,) = [each for each in tree["static_resources"]["clusters"] if each["name"] == "flights"]
    del cluster["transport_socket"]
    (locality,) = cluster["load_assignment"]["endpoints"]
    address = {"socket_address": {"address": LOOPBACK, "port_value": port}}
    locality["lb_endpoints"] = [{"endpoint": {"address": address}}]
    return tree


def publish_as_told(stack: Stack, source: Path) -> None:
    """The commands that follow the edits, and then until the new version decides."""
    (script,) = blocks(POLICY / "README.md", "Put your own agent behind it", "sh")
    state = stack.deployment.settings.state
    script = script.replace(".venv/bin/", "").replace("--state var", f"--state '{state}'")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["bash", "-eu", "-c", script], cwd=source.parent, env=environment, timeout=120, check=True)
    end = time.monotonic() + 30
    with stack.client() as client:
        while stack.record(client.get(RECORDS)).get("policy_version") != "v1.4.0":
            assert time.monotonic() < end


@pytest.mark.timeout(300)
def test_an_agent_of_ones_own_is_allowed_and_denied_and_its_tunnels_are_recorded(tmp_path: Path) -> None:
    source, file = with_flights(tmp_path), gateway_with_flights(tmp_path)
    validate = [str(program("envoy")), "--mode", "validate", "--log-level", "error", "-c", str(file)]
    assert subprocess.run(validate, check=False, timeout=60, capture_output=True).returncode == 0
    with running(tmp_path / "var", envoy=False) as stack:
        ports = stack.deployment.ports
        tree = gateway.configure(file, stack.deployment.addresses(ports.envoy, upstream=ports.upstream))
        stack.deployment.start_envoy(to_the_sample(tree, ports.upstream))
        publish_as_told(stack, source)
        with stack.client("travel-agent") as client:
            allowed, wrong = client.get(FLIGHTS), client.get(FLIGHTS.replace("ZRH", "Zurich"))
        with stack.client("clinical-agent") as client:
            denied = client.get(FLIGHTS)
        assert [answer.status_code for answer in (allowed, wrong, denied)] == [200, 403, 403]
        assert stack.record(allowed)["tool"] == "flights.search"
        assert stack.record(denied)["reason_code"] == "tool_not_permitted"
        host = "flights.example:443"
        status, headers, _ = stack.raw(f"CONNECT {host} HTTP/1.1\nhost: {host}\n{{token}}")
        record = stack.record_of(headers)
        assert (status, record["decision"], record["method"]) == (403, "deny", "CONNECT")


def test_the_blocks_are_the_ones_that_are_meant() -> None:
    listed = blocks(POLICY / "README.md", "Put your own agent behind it", "yaml")
    assert [yaml.safe_load(block) is not None for block in listed[:3]] == [True] * 3
    assert [block.splitlines()[0].split()[1] for block in listed] == [
        "destinations/data.yaml:", "tools/data.yaml:", "agents/data.yaml:", "below", "below"
    ]  # fmt: skip
