"""A whole deployment in a scratch directory for the benchmark: keys, policy, OPA, follower, worker, Envoy.

Everything is on: signatures, chain, sync, checkpoints each second, metrics, spans sampled at 1% and sent to a
collector that takes them. The policy is the default library.
"""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from stack import Times, envoy_config

from authz.up.deployment import Deployment
from authz.up.places import LOOPBACK, Places, Ports
from authz.up.processes import Processes
from authz.up.traffic import TOKEN

HERE = Path(__file__).parent
EHR = "internal-ehr.myorg.example"
PATH = "/patients/1/records"


def deploy(places: Places, processes: Processes) -> dict[str, dict[str, Any]]:
    """Start everything; the targets to measure: port, pid, path, authority, headers and Envoy's times."""
    ports, others = Ports.free(), Ports.free()
    collector = f"{LOOPBACK}:{others.upstream}"
    processes.start("collector", sys.executable, str(HERE / "collector.py"), collector)
    telemetry = {"otlp_endpoint": f"http://{collector}/v1/traces", "sampling": 0.01, "log_level": "warning"}
    deployment = Deployment(places, ports, processes, {"telemetry": telemetry})
    issuer, _ = deployment.prepare()
    deployment.start_follower()
    deployment.start_opa()
    deployment.start_worker()
    bare = places.sockets / "bare.sock"
    processes.start("bare", sys.executable, str(HERE / "bare.py"), str(bare))
    processes.wait("bare", bare.exists, "listening")
    listeners = {"bare": (others.envoy, bare), "ours": (ports.envoy, places.check_socket)}
    deployment.start_envoy(envoy_config(places.admin_socket, listeners, places.logs))
    same = {"authority": EHR, "headers": [f"{TOKEN}: {issuer.token('clinical-agent')}"]}
    ours = same | {"port": ports.envoy, "pid": processes.pid("worker")}
    envoy = processes.pid("envoy")
    ours["times"] = Times(places.logs / "ours", envoy)
    times = Times(places.logs / "bare", envoy)
    return {
        "bare": same | {"port": others.envoy, "pid": processes.pid("bare"), "path": PATH, "times": times},
        "cached": ours | {"path": PATH, "stages": stages_of(deployment.settings.listen.metrics)},
        "uncached": ours | {"path": "/patients/{n}/records"},
    }


def stages_of(address: str) -> Callable[[], dict[str, Any]]:
    """Reads the worker's own means by stage, in us, and its mean batch and sync."""

    def stages() -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
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

    return stages
