"""A whole deployment in a scratch directory for the benchmark: keys, policy, OPA, follower, worker, Envoy.

Everything is on: signatures, chain, sync, checkpoints each second, metrics, spans sampled at 1% and sent to a
collector that takes them. The policy is the default library. Beside it stand the authorizers that it is
compared with.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peer
import yaml
from prometheus_client.parser import text_string_to_metric_families
from stack import Times, envoy_config

from authz.up.deployment import POLICY, Deployment, program
from authz.up.places import LOOPBACK, Places, Ports
from authz.up.probe import answers
from authz.up.processes import Processes
from authz.up.traffic import TOKEN

HERE = Path(__file__).parent
EHR = "internal-ehr.myorg.example"
KNOWN = "/patients/1/records"
NEW = "/patients/{n}/records"  # no two requests alike: nothing can be answered from a cache


@dataclass(frozen=True)
class Conditions:
    """What differs from the laptop at rest."""

    plugin: Path | None = None  # opa-envoy-plugin, to run beside ours
    data_mb: int = 0  # policy data more than the library has
    slow_sync_ms: int = 0  # that each sync of the ledger takes longer
    transport: str = "http2"  # what carries Check


@dataclass(frozen=True)
class Target:
    """What Envoy is asked for, and who decides it. `pids`: its processes, the first the authorizer itself."""

    port: int
    pids: list[int]
    path: str
    times: Times
    headers: list[str]
    authority: str = EHR


@dataclass
class Bench:
    """Running authorizers by name."""

    conditions: Conditions
    targets: dict[str, Target] = field(default_factory=dict)
    policy_s: float = 0.0  # from OPA's start until it had the policy
    _metrics: str = ""

    def stages(self) -> dict[str, Any]:
        """The worker's own means by stage, in us, and its mean batch and sync."""
        with urllib.request.urlopen(f"http://{self._metrics}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name.endswith(("_sum", "_count")):
                    sums[f"{sample.name}{sample.labels.get('stage', '')}"] = sample.value
        found = {}
        for name, total in sums.items():
            head, mark, stage = name.rpartition("_sum")
            count = sums.get(f"{head}_count{stage}") if mark else None
            if count:
                unit = 1.0 if head.endswith("_entries") else 1e6
                found[f"{head.removeprefix('aegis_')} {stage}".strip()] = round(total / count * unit, 1)
        return found


def deploy(places: Places, processes: Processes, conditions: Conditions) -> Bench:
    """Start everything. Raises StartFailed."""
    ports = Ports.free()
    collector = f"{LOOPBACK}:{Ports.free().upstream}"
    processes.start("collector", sys.executable, str(HERE / "collector.py"), collector)
    telemetry = {"otlp_endpoint": f"http://{collector}/v1/traces", "sampling": 0.01, "log_level": "warning"}
    listen = {"listen": {"transport": conditions.transport}}
    deployment = Deployment(places, ports, processes, {"telemetry": telemetry} | listen)
    source = _policy(places.run / "policy", conditions.data_mb)
    embedded = not conditions.data_mb and not conditions.slow_sync_ms
    issuer, _ = deployment.prepare(source, wasm=embedded)
    deployment.start_follower()
    started = time.monotonic()
    deployment.start_opa(within_s=300)
    taken_up = time.monotonic() - started
    worker = _start_worker(deployment, conditions.slow_sync_ms)
    sockets = {"bare": _bare(places, processes), "ours": places.check_socket}
    if embedded:
        sockets["wasm"] = _start_embedded(deployment)
    if conditions.plugin:
        settings = deployment.settings
        jwks = settings.path(settings.identity.jwks)
        policy = peer.policy(source, jwks, settings.identity, places.run / "plugin")
        sockets |= peer.start(conditions.plugin, policy, places.sockets, processes)
    listeners = {
        name: (_port(ports, name), socket, name not in peer.LOGS) for name, socket in sockets.items()
    }
    deployment.start_envoy(envoy_config(places.admin_socket, listeners, places.logs))
    envoy = processes.pid("envoy")
    headers = [f"{TOKEN}: {issuer.token('clinical-agent')}"]

    def target(name: str, path: str, *pids: int) -> Target:
        return Target(listeners[name][0], list(pids), path, Times(places.logs / name, envoy), headers)

    bench = Bench(conditions, policy_s=taken_up, _metrics=deployment.settings.listen.metrics)
    bench.targets["bare"] = target("bare", KNOWN, processes.pid("bare"))
    bench.targets["cached"] = target("ours", KNOWN, worker, processes.pid("opa"))
    bench.targets["uncached"] = target("ours", NEW, worker, processes.pid("opa"))
    if embedded:
        bench.targets["uncached wasm"] = target("wasm", NEW, processes.pid("wasm"))
    for name in [name for name in peer.LOGS if name in sockets]:
        bench.targets[name] = target(name, NEW, processes.pid(name))
    return bench


def _port(ports: Ports, name: str) -> int:
    return ports.envoy if name == "ours" else Ports.free().envoy


def _policy(directory: Path, data_mb: int) -> Path:
    """The library, with `data_mb` of accounts beside it that a rule could look up."""
    if not data_mb:
        return POLICY
    shutil.copytree(POLICY, directory)
    (directory / "accounts").mkdir()
    account = {"owner": "x" * 60, "limits": list(range(8))}
    count = data_mb * 1_000_000 // len(json.dumps({"account-00000000": account}))
    accounts = {f"account-{number:08}": account for number in range(count)}
    (directory / "accounts/data.json").write_text(json.dumps(accounts))
    return directory


def _bare(places: Places, processes: Processes) -> Path:
    socket = places.sockets / "bare.sock"
    processes.start("bare", sys.executable, str(HERE / "bare.py"), str(socket))
    processes.wait("bare", socket.exists, "listening")
    return socket


def _start_embedded(deployment: Deployment) -> Path:
    """A second worker, with the same policy from the same follower, that evaluates it itself; its socket."""
    places, socket = deployment.places, deployment.places.sockets / "wasm.sock"
    tree = yaml.safe_load(deployment.config.read_text())
    metrics = f"{LOOPBACK}:{Ports.free().metrics}"
    tree |= {"worker": "worker-wasm", "policy": tree["policy"] | {"engine": "wasm"}}
    tree["listen"] |= {"check": f"unix:{socket}", "outcomes": "", "metrics": metrics}
    config = places.run / "wasm.yaml"
    config.write_text(yaml.safe_dump(tree))
    deployment.processes.start("wasm", str(program("aegis")), "serve", "--config", str(config))
    deployment.processes.wait("wasm", lambda: answers(metrics, "/readyz"), "being ready")
    return socket


def _start_worker(deployment: Deployment, slow_sync_ms: int) -> int:
    """Its process id. A slow disk is the kernel's: strace holds each fdatasync back when it is through."""
    if not slow_sync_ms:
        deployment.start_worker()
        return deployment.processes.pid("worker")
    serve = [str(program("aegis")), "serve", "--config", str(deployment.config)]
    inject = f"inject=fdatasync:delay_exit={slow_sync_ms * 1000}"
    trace = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", inject]
    deployment.processes.start("worker", *trace, *serve)
    deployment.processes.wait("worker", deployment.worker_ready, "being ready")
    tracer = deployment.processes.pid("worker")
    children = Path(f"/proc/{tracer}/task/{tracer}/children").read_text().split()
    return int(children[0])
