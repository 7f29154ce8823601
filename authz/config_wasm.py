"""Settings of the embedded engine (`policy.engine: wasm`)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from authz.config_section import Section


class Wasm(Section):
    """How a worker evaluates policy itself, without an OPA."""

    opa_config: Path = Field(
        default=Path("run/opa.json"),
        description="What an OPA would be told (`aegis policy opa-config`): where bundles are served, and "
        "whose signature they need.",
    )
    kept: Path = Field(
        default=Path("run/policy"),
        description="Directory for the last version that was activated, checked again and used when a worker "
        "starts while the bundles' server is away.",
    )
    fuel: int = Field(
        default=50_000_000,
        ge=100_000,
        le=10_000_000_000,
        description="Most WebAssembly instructions of one evaluation; beyond, it is denied `engine_fuel`. "
        "The worker does nothing else meanwhile: a million take about half a millisecond.",
    )
    memory_mb: int = Field(
        default=64,
        ge=1,
        le=2000,
        description="Most memory of an evaluation and the policy's data together, 10^6 bytes; beyond, it is "
        "denied `engine_memory`. Data take about ten times their JSON.",
    )
