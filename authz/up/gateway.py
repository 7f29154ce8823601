"""A reference Envoy configuration with this machine's ports and paths in it.

In: `envoy/gateway.yaml` or `envoy/forward-proxy.yaml` and where things are. Out: the same tree, as Envoy
reads it. Only addresses are put in: how requests are read and decided is what the reference file says, so
that what is tested and tried here is what users copy.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from authz.up.places import LOOPBACK
from authz.up.processes import StartFailed

AUTHORIZER: Final = "aegis"
OUTCOMES: Final = "aegis-outcomes"
_FILE_LOG: Final = "envoy.access_loggers.file"
_SERVICE_LOG: Final = "envoy.access_loggers.http_grpc"
SAMPLE: Final = "sample"
SAMPLE_MCP: Final = "sample-mcp"
TRACING: Final = "parts/tracing.yaml"


@dataclass(frozen=True)
class Addresses:
    """What is put into a reference configuration. Paths are absolute."""

    listen: int
    check: Sequence[Path]  # one socket per worker
    admin: Path
    access_log: Path
    outcomes: Sequence[Path] = ()  # one socket per worker; without any, Envoy sends no outcomes
    upstream: int | None = None  # the sample upstream, where the configuration has it
    mcp: int | None = None  # the sample MCP server, where the configuration has it
    collector: int | None = None  # an OpenTelemetry collector (OTLP/HTTP): every request is traced


def configure(reference: Path, addresses: Addresses) -> dict[str, Any]:
    """The configuration in `reference` with `addresses` for its own. Raises StartFailed where it has a
    virtual host whose tunnels Envoy would refuse unasked.
    """
    tree: dict[str, Any] = copy.deepcopy(yaml.safe_load(reference.read_text(encoding="utf-8")))
    tree["admin"]["address"]["pipe"]["path"] = str(addresses.admin)
    resources = tree["static_resources"]
    for listener in resources["listeners"]:
        listener["address"]["socket_address"] |= {"address": LOOPBACK, "port_value": addresses.listen}
        _check_tunnels(connection_manager(listener), reference)
        _log(connection_manager(listener), addresses)
    clusters = {cluster["name"]: cluster for cluster in resources["clusters"]}
    _endpoints(clusters[AUTHORIZER], [{"pipe": {"path": str(path)}} for path in addresses.check])
    if addresses.outcomes:
        _endpoints(clusters[OUTCOMES], [{"pipe": {"path": str(path)}} for path in addresses.outcomes])
    else:
        resources["clusters"] = [each for each in resources["clusters"] if each["name"] != OUTCOMES]
    for name, port in ((SAMPLE, addresses.upstream), (SAMPLE_MCP, addresses.mcp)):
        if port is not None:
            address = {"address": LOOPBACK, "port_value": port}
            _endpoints(clusters[name], [{"socket_address": address}])
    if addresses.collector is not None:
        _trace(tree, yaml.safe_load((reference.parent / TRACING).read_text()), addresses.collector)
    return tree


def _check_tunnels(manager: dict[str, Any], reference: Path) -> None:
    """Only a `connect_matcher` matches CONNECT. Without one Envoy answers 404 itself: nothing is recorded."""
    for host in manager["route_config"]["virtual_hosts"]:
        if not any("connect_matcher" in route["match"] for route in host["routes"]):
            raise StartFailed(
                f"{reference}: virtual host {host['name']} has no route with a connect_matcher: a CONNECT to "
                "it would leave no record. rego/README.md shows a whole virtual host"
            )


def _log(manager: dict[str, Any], addresses: Addresses) -> None:
    """Send the access log to `addresses`, and to the workers only where they listen."""
    kept = [log for log in manager["access_log"] if addresses.outcomes or log["name"] != _SERVICE_LOG]
    manager["access_log"] = kept
    for log in kept:
        if log["name"] == _FILE_LOG:
            log["typed_config"]["path"] = str(addresses.access_log)


def _trace(tree: dict[str, Any], parts: dict[str, Any], port: int) -> None:
    """Add the tracing parts, sampling everything, with the collector at `port`."""
    _endpoints(parts["cluster"], [{"socket_address": {"address": LOOPBACK, "port_value": port}}])
    tree["static_resources"]["clusters"].append(parts["cluster"])
    parts["connection_manager"]["tracing"]["random_sampling"]["value"] = 100
    for listener in tree["static_resources"]["listeners"]:
        connection_manager(listener).update(parts["connection_manager"])


def connection_manager(listener: dict[str, Any]) -> dict[str, Any]:
    """The HTTP connection manager of a listener that has one filter chain with one filter."""
    (chain,) = listener["filter_chains"]
    (manager,) = chain["filters"]
    settings: dict[str, Any] = manager["typed_config"]
    return settings


def write(tree: dict[str, Any], file: Path) -> None:
    file.write_text(json.dumps(tree, indent=1) + "\n")


def command(binary: Path, file: Path, *, concurrency: int = 2) -> list[str]:
    """Envoy's command line. Without --disable-hot-restart it ends with the shell that started it."""
    options = ["--disable-hot-restart", "--concurrency", str(concurrency), "--log-level", "warning"]
    return [str(binary), "--config-path", str(file), *options]


def _endpoints(cluster: dict[str, Any], addresses: list[dict[str, Any]]) -> None:
    (locality,) = cluster["load_assignment"]["endpoints"]
    locality["lb_endpoints"] = [{"endpoint": {"address": address}} for address in addresses]
