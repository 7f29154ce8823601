"""The benchmark's Envoy: one listener per authorizer, and what the kernel says a process has used.

Envoy answers allowed requests itself (direct_response), so that no upstream's cost is measured. All
listeners are alike but for the authorizer's socket and how it reads headers; each writes how long its
requests took to a file.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

TYPE = "type.googleapis.com/envoy"
HTTP_PROTOCOL = f"{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions"


def envoy_config(admin: Path, listeners: dict[str, tuple[int, Path, bool]], times: Path) -> dict[str, Any]:
    """`listeners` is name -> (port, authorizer's Unix socket, whether it reads raw headers); `times` the
    directory for their times.
    """
    return {
        "admin": {"address": {"pipe": {"path": str(admin)}}},
        "static_resources": {
            "listeners": [
                _listener(name, port, raw, times / name) for name, (port, _, raw) in listeners.items()
            ],
            "clusters": [_cluster(name, path) for name, (_, path, _) in listeners.items()],
        },
    }


def _listener(name: str, port: int, raw: bool, times: Path) -> dict[str, Any]:
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
        "encode_raw_headers": raw,
        "decoder_header_mutation_rules": {"disallow_system": True},
    }
    access_log = {
        "@type": f"{TYPE}.extensions.access_loggers.file.v3.FileAccessLog",
        "path": str(times),
        "log_format": {
            "text_format_source": {"inline_string": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%\n"}
        },
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
        "access_log": [{"name": "times", "typed_config": access_log}],
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


def cpu_seconds(pid: int) -> float:
    """CPU that all threads of a process have used, in seconds with a resolution of nanoseconds."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def resident_mb(pid: int) -> float:
    """Memory that a process holds, in 10^6 bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


class Times:
    """What Envoy's access log says of each request from `mark` on: microseconds from the first byte received
    to the last sent.
    """

    def __init__(self, path: Path, pid: int) -> None:
        self._path, self._pid = path, pid
        self._at = 0

    def mark(self) -> None:
        self._at = self._path.stat().st_size

    def read(self, count: int) -> list[float]:
        """Seconds, at least `count`; TimeoutError when Envoy has not written so many after 15 s.

        A signal (SIGUSR1: reopen the logs) makes Envoy write what it holds back.
        """
        until = time.monotonic() + 15
        while time.monotonic() < until:
            os.kill(self._pid, signal.SIGUSR1)
            time.sleep(0.1)
            with self._path.open("rb") as file:
                file.seek(self._at)
                *lines, _ = file.read().split(b"\n")
            if len(lines) >= count:
                return [int(line) / 1e6 for line in lines if line != b"-"]  # "-": the client left
        raise TimeoutError(f"{self._path}: {len(lines)} of {count} requests after 15 s")
