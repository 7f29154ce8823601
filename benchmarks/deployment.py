"""A whole deployment in a scratch directory for the benchmark: keys, policy, OPA, follower, worker, Envoy.

Everything is on: signatures, chain, sync, checkpoints each second, metrics, spans sampled at 1% and sent to a
collector that takes them. The policy is the default library.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client.parser import text_string_to_metric_families
from stack import Stack, answers, free_port

from authz.followers.bundles import activate, opa_command, opa_config
from authz.ledger import keys
from authz.policy.signing import ensure_signing_key
from authz.policy.version import build_bundle

HERE = Path(__file__).parent
REGO = HERE.parent / "rego"
EHR = "internal-ehr.myorg.example"
PATH = "/patients/1/records"


def deploy(stack: Stack, ports: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Start everything; the targets to measure: port, pid, path, authority and headers of each."""
    state = stack.directory / "var"
    token = _identities(state)
    settings = _settings(state)
    _start(stack, state, settings)
    bare = stack.directory / "bare.sock"
    stack.start("bare", sys.executable, str(HERE / "bare.py"), str(bare))
    stack.wait("bare", bare.exists)
    stack.start_envoy({"bare": (ports["bare"], bare), "ours": (ports["ours"], state / "run/check.sock")})
    same = {"authority": EHR, "headers": [f"x-aegis-agent-token: {token}"]}
    ours = same | {"port": ports["ours"], "pid": stack.processes["worker"].pid}
    return {
        "bare": same | {"port": ports["bare"], "pid": stack.processes["bare"].pid, "path": PATH},
        "cached": ours | {"path": PATH, "stages": stages_of(settings["listen"]["metrics"])},
        "uncached": ours | {"path": "/patients/{n}/records"},
    }


def _identities(state: Path) -> str:
    """The agents' key set, and a token of the clinical agent for the time of the benchmark."""
    (state / "keys").mkdir(parents=True, mode=0o700)
    key = Ed25519PrivateKey.generate()
    public = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key()))
    (state / "keys/agents.jwks.json").write_text(json.dumps({"keys": [public | {"kid": "bench"}]}))
    now = int(time.time())
    claims = {"iss": "https://agents.aegis.test", "aud": "aegis", "sub": "clinical-agent"}
    claims |= {"iat": now, "exp": now + 3000, "jti": "bench"}
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": "bench"})


def _settings(state: Path) -> dict[str, Any]:
    return {
        "deployment": "bench.aegis.test",
        "state": str(state),
        "listen": {"metrics": f"127.0.0.1:{free_port()}"},
        "follower": {"bundles": f"127.0.0.1:{free_port()}", "metrics": f"127.0.0.1:{free_port()}"},
        "telemetry": {
            "otlp_endpoint": f"http://127.0.0.1:{free_port()}/v1/traces",
            "sampling": 0.01,
            "log_level": "warning",
        },
    }


def _start(stack: Stack, state: Path, settings: dict[str, Any]) -> None:
    """Keys, policy, then the processes in the order in which they need each other."""
    config = stack.directory / "aegis.yaml"
    config.write_text(yaml.safe_dump(settings))
    for name in ("record.key", "log.key"):
        keys.ensure(state / "keys" / name)
    signing_key = state / "keys/policy.pem"
    public = ensure_signing_key(signing_key)
    build_bundle(REGO, state / "bundles", version="v1", signing_key=signing_key)
    activate(state / "bundles", "v1")
    aegis = str(Path(sys.executable).with_name("aegis"))
    collector = settings["telemetry"]["otlp_endpoint"].split("/")[2]
    stack.start("collector", sys.executable, str(HERE / "collector.py"), collector)
    stack.start("follower", aegis, "follow", "--config", str(config))
    (state / "run").mkdir(mode=0o700, exist_ok=True)
    opa = stack.directory / "opa.json"
    opa.write_text(json.dumps(opa_config(f"http://{settings['follower']['bundles']}", public)))
    stack.start("opa", *opa_command(state / "run/opa.sock", opa))
    stack.start("worker", aegis, "serve", "--config", str(config))
    stack.wait("worker", lambda: answers(f"http://{settings['listen']['metrics']}/readyz"))


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
