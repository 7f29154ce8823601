"""`aegis up`: everything on this machine, for whoever sees the project for the first time."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from authz.cli.serve import explained

_INTERRUPTED = 130


class Engine(StrEnum):
    OPA = "opa"
    WASM = "wasm"


def up(
    once: Annotated[bool, typer.Option("--once", help="End after the sample traffic and its proof.")] = False,
    state: Annotated[Path, typer.Option("--state", help="Directory for keys, ledger and policy.")] = Path(
        "var"
    ),
    policy: Annotated[Path | None, typer.Option("--policy", help="Rego and data to publish.")] = None,
    engine: Annotated[
        Engine, typer.Option(help="What evaluates policy: an OPA, or the worker itself by WebAssembly.")
    ] = Engine.OPA,
    envoy_port: Annotated[int, typer.Option(help="Envoy, the agents' HTTP proxy.")] = 10000,
    upstream_port: Annotated[int, typer.Option(help="The sample upstream.")] = 10001,
    bundles_port: Annotated[int, typer.Option(help="The follower, serving policy to OPA.")] = 8282,
    metrics_port: Annotated[int, typer.Option(help="The worker's /metrics.")] = 9464,
    follower_metrics_port: Annotated[int, typer.Option(help="The follower's /metrics.")] = 9465,
) -> None:
    """Start Envoy, OPA, worker and follower here, play the sample traffic, prove the ledger, then serve."""
    with explained():
        try:
            from authz.up.deployment import POLICY
            from authz.up.places import Ports
            from authz.up.story import Options, run

            ports = Ports(envoy_port, upstream_port, bundles_port, metrics_port, follower_metrics_port)
            options = Options(state, policy or POLICY, ports, once, engine.value)
            raise typer.Exit(run(options))
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None
