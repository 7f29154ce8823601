"""What the benchmark runs: Envoy with one listener per authorizer, and the processes behind them.

Envoy answers allowed requests itself (direct_response), so that no upstream's cost is measured. All
listeners are alike but for the authorizer's socket.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

TYPE = "type.googleapis.com/envoy"
HTTP_PROTOCOL = f"{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def envoy_config(listeners: dict[str, tuple[int, Path]]) -> dict[str, Any]:
    """Listener name -> (port, authorizer's Unix socket)."""
    return {
        "static_resources": {
            "listeners": [_listener(name, port) for name, (port, _) in listeners.items()],
            "clusters": [_cluster(name, path) for name, (_, path) in listeners.items()],
        }
    }


def _listener(name: str, port: int) -> dict[str, Any]:
    ext_authz = {
        "@type": f"{TYPE}.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": name}, "timeout": "0.5s"},
        "status_on_error": {"code": 503},
        "with_request_body": {
            "max_request_bytes": 65536,
            "allow_partial_message": True,
            "pack_as_bytes": True,
        },
        "encode_raw_headers": True,
        "decoder_header_mutation_rules": {"disallow_system": True},
    }
    manager = {
        "@type": f"{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "normalize_path": True,
        "merge_slashes": True,
        "generate_request_id": True,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "any",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
                }
            ]
        },
        "http_filters": [
            {"name": "ext_authz", "typed_config": ext_authz},
            {"name": "router", "typed_config": {"@type": f"{TYPE}.extensions.filters.http.router.v3.Router"}},
        ],
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _cluster(name: str, path: Path) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(path)}}}}
    http2 = {"@type": HTTP_PROTOCOL, "explicit_http_config": {"http2_protocol_options": {}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


class Stack:
    """Processes by name; `close` ends what was started, in reverse, by pid."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._files = ExitStack()

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        out = self._files.enter_context((self.directory / f"{name}.log").open("ab"))
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        self.processes[name] = process
        return process

    def start_envoy(self, listeners: dict[str, tuple[int, Path]], concurrency: int = 2) -> None:
        file = self.directory / "envoy.json"
        file.write_text(json.dumps(envoy_config(listeners)))
        binary = Path(sys.executable).with_name("envoy")
        options = ("--disable-hot-restart", "--concurrency", str(concurrency), "-l", "error")
        self.start("envoy", str(binary), "-c", str(file), *options)
        for port, _ in listeners.values():
            self.wait("envoy", lambda port=port: reachable(port))

    def wait(self, name: str, ready: Any, seconds: float = 30.0) -> None:
        """Until `ready()`; raises with the log's end when the process stops or the time is over."""
        end = time.monotonic() + seconds
        while not ready():
            if self.processes[name].poll() is not None or time.monotonic() > end:
                raise RuntimeError(
                    f"{name} did not start:\n{(self.directory / f'{name}.log').read_text()[-3000:]}"
                )
            time.sleep(0.05)

    def close(self) -> None:
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.terminate()
        for process in reversed(self.processes.values()):
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
        self._files.close()


def reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(url, timeout=1).status == 200)
    except OSError:
        return False


def cpu_seconds(pid: int) -> float:
    """CPU that all threads of a process have used, in seconds with a resolution of nanoseconds."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9
