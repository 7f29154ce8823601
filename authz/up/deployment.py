"""The processes of one deployment, started in the order in which they need each other.

In: places and ports. Out: keys, a published policy version, and running processes: follower (serves the
policy), OPA (takes it; none where the worker evaluates policy itself), worker (asks OPA), Envoy (asks the
worker). Each start returns when the process is ready, by its own word. Used by `aegis up`, the end-to-end
tests and the benchmark.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from authz import programs, who
from authz.config import Settings
from authz.config_file import load
from authz.followers.bundles import opa_command, opa_config, versions_of
from authz.followers.releases import Releases
from authz.ledger import keys, trust
from authz.policy.signing import public_key
from authz.policy.versions import Versions
from authz.up import gateway
from authz.up.issuer import SampleIssuer
from authz.up.places import LOOPBACK, Places, Ports
from authz.up.policies import Published, publish
from authz.up.probe import answers
from authz.up.processes import START_WITHIN_S, Processes, StartFailed

ROOT: Final = Path(__file__).resolve().parents[2]
POLICY: Final = ROOT / "rego"
GATEWAY: Final = ROOT / "envoy/gateway.yaml"
_NOTE: Final = "# Written by `aegis up` each time it starts: changes here are lost.\n"


class Deployment:
    """One worker with its follower, OPA and Envoy. `settings` are what all of them were told."""

    def __init__(
        self,
        places: Places,
        ports: Ports,
        processes: Processes,
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
        mcp: int | None = None,
    ) -> None:
        """Write the settings, with `overrides` by section. `mcp` is the sample MCP server's port, where there
        is one. Raises ConfigError.
        """
        self.mcp = mcp
        self.places, self.ports, self.processes = places, ports, processes
        self.config = places.run / "aegis.yaml"
        self.config.write_text(_NOTE + yaml.safe_dump(_tree(places, ports, overrides or {}), sort_keys=False))
        self.settings: Settings = load(self.config)

    def prepare(self, policy: Path = POLICY, *, wasm: bool = False) -> tuple[SampleIssuer, Published]:
        """Make the keys and the trust file, publish `policy`; the sample issuer and the active version, which
        has WebAssembly, too, if the worker evaluates it or with `wasm`.
        """
        if not policy.is_dir():
            raise StartFailed(f"{policy}: no such directory; run `aegis up` from a clone, or with --policy")
        settings, state = self.settings, self.settings.state
        self._pin()
        (state / "keys").chmod(0o700)
        issuer = SampleIssuer(state / "keys/issuer", settings.path(settings.identity.jwks), settings.identity)
        releases = Releases(self.versions, settings.outbox, who.runs_this(), "aegis up")
        opa = str(program("opa"))
        published = publish(policy, releases, self._policy_key, wasm=wasm or self.embedded, opa=opa)
        told = opa_config(f"http://{settings.follower.bundles}", public_key(self._policy_key))
        self._told.write_text(json.dumps(told, indent=1) + "\n")
        return issuer, published

    def start_follower(self) -> None:
        self.processes.start("follower", str(program("aegis")), "follow", "--config", str(self.config))
        address = self.settings.follower.metrics
        self.processes.wait("follower", lambda: answers(address, "/readyz"), "being ready")

    def start_opa(self, within_s: float = START_WITHIN_S) -> None:
        command = opa_command(self.places.opa_socket, self._told, opa=str(program("opa")))
        self.processes.start("opa", *command)
        self.processes.wait("opa", self.opa_ready, "having the policy", within_s)

    def opa_ready(self) -> bool:
        return answers(self.places.opa_socket, "/health?bundles")

    def start_worker(self) -> None:
        self.processes.start("worker", str(program("aegis")), "serve", "--config", str(self.config))
        self.processes.wait("worker", self.worker_ready, "being ready")

    def worker_ready(self) -> bool:
        return answers(self.settings.listen.metrics, "/readyz")

    def start_envoy(self, tree: dict[str, Any] | None = None, name: str = "envoy") -> None:
        """Start Envoy with `tree`, by default the reference gateway before the sample upstream."""
        config = self.places.run / f"{name}.json"
        tree = self.gateway() if tree is None else tree
        gateway.write(tree, config)
        admin = Path(tree["admin"]["address"]["pipe"]["path"])
        self.processes.start(name, *gateway.command(program("envoy"), config))
        self.processes.wait(name, lambda: answers(admin, "/ready"), "being ready")

    def addresses(
        self, listen: int, name: str = "envoy", upstream: int | None = None, mcp: int | None = None
    ) -> gateway.Addresses:
        return gateway.Addresses(
            listen,
            check=[self.places.check_socket],
            admin=self.places.sockets / f"{name}-admin.sock",
            access_log=self.places.logs / f"{name}-access.jsonl",
            outcomes=[self.places.outcomes_socket],
            upstream=upstream,
            mcp=mcp,
        )

    def gateway(self) -> dict[str, Any]:
        addresses = self.addresses(self.ports.envoy, upstream=self.ports.upstream, mcp=self.mcp)
        return gateway.configure(GATEWAY, addresses)

    @property
    def proxy(self) -> str:
        """What agents set as their HTTP proxy."""
        return f"http://{LOOPBACK}:{self.ports.envoy}"

    @property
    def embedded(self) -> bool:
        """Whether the worker evaluates policy itself, so that there is no OPA."""
        return self.settings.policy.engine == "wasm"

    @property
    def trust(self) -> Path:
        return self.settings.state / "trust.json"

    @property
    def versions(self) -> Versions:
        """The published policy versions."""
        return versions_of(self.settings)

    @property
    def _told(self) -> Path:
        """What OPA, or an embedded engine, is told."""
        return self.places.run / "opa.json"

    @property
    def _policy_key(self) -> Path:
        return self.settings.state / "keys/policy.pem"

    def _pin(self) -> None:
        """Write the public keys that verifiers pin, once: trust that changes by itself is none. (A file from
        before there was a control log gets its origin, for the key that is pinned already.)
        """
        settings = self.settings
        files = [settings.path(file) for file in (settings.ledger.record_key, settings.ledger.log_key)]
        gone = [str(file) for file in files if not file.exists()]
        if gone and self.trust.exists():  # before a new one takes its place
            raise StartFailed(
                f"{gone[0]} is gone, and {self.trust} pins it: what another one signs could not be verified. "
                "Put it back, or move the whole state directory away to start anew"
            )
        record = keys.public_key(keys.ensure(settings.path(settings.ledger.record_key)))
        log = keys.public_key(keys.ensure(settings.path(settings.ledger.log_key)))
        worker, control = settings.origins
        if not self.trust.exists():
            self._write_trust({worker: [log], control: [log]}, [record])
        pinned = trust.load(self.trust)
        more = pinned.unused or pinned.witnesses or pinned.tsa_roots
        if pinned.log_keys.keys() == {worker} and not more:
            self._write_trust(dict.fromkeys((worker, control), pinned.log_keys[worker]), pinned.record_keys)
            pinned = trust.load(self.trust)
        believed = all(log in pinned.log_keys_of(origin) for origin in (worker, control))
        if not believed or record not in pinned.record_keys:
            raise StartFailed(
                f"{self.trust} pins other keys than {settings.state}/keys has: what is recorded now could "
                "not be verified. After a rotation write it anew with `aegis keys export-trust`; otherwise "
                "put the old keys back, or move the whole state directory away to start anew"
            )

    def _write_trust(self, log_keys: Mapping[str, Sequence[bytes]], record_keys: Iterable[bytes]) -> None:
        beside = self.trust.with_name(".trust.json")
        beside.write_bytes(trust.export(log_keys, record_keys))
        beside.replace(self.trust)


def _tree(places: Places, ports: Ports, overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "state": str(places.state),
        "listen": {
            "check": f"unix:{places.check_socket}",
            "outcomes": f"unix:{places.outcomes_socket}",
            "metrics": f"{LOOPBACK}:{ports.metrics}",
        },
        "policy": {
            "opa_socket": str(places.opa_socket),
            "wasm": {"opa_config": str(places.run / "opa.json"), "kept": str(places.run / "policy")},
        },
        "follower": {
            "bundles": f"{LOOPBACK}:{ports.bundles}",
            "metrics": f"{LOOPBACK}:{ports.follower_metrics}",
            "stream": f"unix:{places.stream_socket}",
        },
    }
    tree["exporters"] = {"files": {"enabled": True}}
    for section, members in overrides.items():
        tree[section] = tree.get(section, {}) | dict(members)
    return tree


def program(name: str) -> Path:
    """The program beside this Python, or on PATH. Raises StartFailed."""
    found = programs.find(name)
    if found is None:
        raise StartFailed(f"there is no `{name}`, neither beside {sys.executable} nor on PATH: run `make up`")
    return found
