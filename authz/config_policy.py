"""The section `policy`: who decides, how it is asked, and what is kept of its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from authz.config_compat import Plugin
from authz.config_section import Section as _Section
from authz.config_wasm import Wasm

# Empty parts do not count, as in the paths of OPA's API.
EntryPoint = Annotated[str, AfterValidator(lambda text: "/".join(filter(None, text.split("/"))))]


class Policy(_Section):
    """How policy is asked."""

    engine: Literal["opa", "wasm"] = Field(
        default="opa",
        description="`opa` asks the OPA at `opa_socket`. `wasm` evaluates in the worker, without any OPA: "
        "versions that were published with `--wasm`; others are not taken then.",
    )
    wasm: Wasm = Wasm()
    opa_socket: Path = Field(
        default=Path("run/opa.sock"), description="OPA's Unix socket (relative to `state`)."
    )
    entry_point: EntryPoint = Field(
        default="aegis/decision",
        pattern=r"^[A-Za-z0-9_./-]+$",
        description="Path below `data`, with `/` between names: a rule, a part of its value, a package.",
    )
    compat: Literal["", "opa-envoy-plugin"] = Field(
        default="",
        description="`opa-envoy-plugin`: the entry point's policy was written for that plugin. It gets the "
        "plugin's input and its result is honoured as the plugin does; requests that several readers could "
        "read differently are then for policy to judge.",
    )
    plugin: Plugin = Plugin()
    timeout_ms: int = Field(default=100, ge=1, le=10000, description="For one question, milliseconds.")
    connections: int = Field(default=16, ge=1, le=256, description="Connections kept to OPA.")
    cache_ttl_s: float = Field(
        default=30.0, ge=0, description="Life of a cached verdict, seconds; 0: no cache."
    )
    cache_size: int = Field(default=20000, ge=1, description="Verdicts kept.")
    poll_ms: int = Field(
        default=250,
        ge=10,
        le=500,
        description="How often the active revision is read from OPA, milliseconds.",
    )
    grace_s: float = Field(
        default=5.0,
        ge=0,
        description="Seconds without OPA before `/readyz` says so; the worker answers all the same.",
    )
    max_age_s: float = Field(
        default=0.0,
        ge=0,
        description="Deny `policy_stale` when OPA's state was not read for so long; 0: never.",
    )
    named_s: float = Field(
        default=0.0,
        ge=0,
        le=3600,
        description="Deny `policy_stale` while OPA has another version than the deployment's control log "
        "says was activated, unless that failed or is less than so many seconds old; 0: any signed version "
        "decides. The worker reads that log below `state`, when the version changes.",
    )
    status_s: float = Field(
        default=10.0,
        ge=1,
        le=3600,
        description="How often OPA is asked why it takes no new version, seconds; 4 ms of its CPU.",
    )
    failed_s: float = Field(
        default=0.0,
        ge=0,
        description="`/readyz` says so when OPA could not take the version that it is offered for so long, "
        "seconds; 0: never. The version before decides meanwhile: a probe that stops every worker for it "
        "would turn a broken bundle into an outage.",
    )
    development_unsigned: bool = Field(
        default=False, description="Accept answers without a revision (never cached). Development only."
    )

    @model_validator(mode="after")
    def _plugins_numbers(self) -> Policy:
        if self.compat and self.engine == "wasm":
            raise ValueError(
                "compat: only with the engine opa, which keeps the text of numbers as the plugin does"
            )
        return self
