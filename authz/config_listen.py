"""The sections `listen` and `limits`: where Envoy asks us, over what, and how much it may send."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from authz.config_addresses import AddressOrNone, CheckAddress, HostPortOrNone
from authz.config_section import Section as _Section

_PINNED = re.compile(
    r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+|dns:[a-z0-9._-]{1,253}|sha256:[0-9a-f]{64}"
)


def _pinned(text: str) -> str:
    """An identity of Envoy's certificate, in the one form in which it is compared."""
    if not _PINNED.fullmatch(text):
        raise ValueError("not spiffe://DOMAIN/PATH, dns:NAME in lower case, or sha256:64 HEX DIGITS")
    return text


Pinned = Annotated[str, AfterValidator(_pinned)]


class Tls(_Section):
    """Mutual TLS on `listen.check` and `listen.outcomes` where they are TCP; all four or none. The files may
    be replaced while we run.
    """

    certificate: Path | None = Field(
        default=None, description="Our certificate chain, PEM (relative to `state`); unset: no TLS."
    )
    private_key: Path | None = Field(default=None, description="Its key, PEM, mode 0600.")
    client_ca: Path | None = Field(
        default=None, description="Who signs Envoy's certificate, PEM. Clients must present one."
    )
    envoy: tuple[Pinned, ...] = Field(
        default=(),
        description="Envoy's identity, any of: `spiffe://DOMAIN/PATH`, `dns:NAME`, `sha256:HEX` of its "
        "public key's DER. Others that the CA signed are refused: they could forge subjects.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Tls:
        given = [bool(self.certificate), bool(self.private_key), bool(self.client_ca), bool(self.envoy)]
        if any(given) and not all(given):
            raise ValueError("certificate, private_key, client_ca and envoy: all of them, or none")
        return self


class Listen(_Section):
    """Where Envoy asks us, and how much may wait."""

    check: CheckAddress = Field(
        default="unix:run/check.sock",
        description="Address of Authorization/Check: `unix:PATH` (relative to `state`; the socket gets mode "
        "0600) or `HOST:PORT`. Whoever reaches it can forge subjects, so TCP without `tls` counts as "
        "assurance `none`.",
    )
    outcomes: AddressOrNone = Field(
        default="",
        description="Address for Envoy's access log, as for `check` (`unix:run/outcomes.sock`), one for each "
        "worker: whoever reaches it can forge outcomes. Empty: none are recorded.",
    )
    transport: Literal["http2", "grpcio"] = Field(
        default="http2",
        description="What carries Check: our own HTTP/2, or grpcio, whose bare call takes six times the CPU.",
    )
    tls: Tls = Tls()
    waiting: int = Field(
        default=1024,
        ge=1,
        le=65536,
        description="Requests being decided at once; more are refused `overloaded`.",
    )
    source_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Part of `waiting` that one source (agent address) may hold; 1 lets one agent "
        "starve all.",
    )
    gather_ms: float = Field(
        default=3.0,
        ge=0,
        le=20,
        description="When the worker is busy a request waits up to so long for others and is decided with "
        "them, for less than half the CPU, milliseconds; 0: each begins at once.",
    )
    drain_s: float = Field(
        default=2.0,
        ge=0,
        le=300,
        description="Seconds of NOT_SERVING before stopping. Not more than Envoy's health-check interval "
        "(0.5): every stop loses requests.",
    )
    metrics: HostPortOrNone = Field(
        default="127.0.0.1:9464", description="HOST:PORT of /metrics, /healthz, /readyz; empty turns it off."
    )


class Limits(_Section):
    """What a request may be; beyond it is a recorded denial. Envoy's own limits must lie above these."""

    body_bytes: int = Field(default=65536, ge=0, le=16 << 20, description="Request body, bytes.")
    header_count: int = Field(default=100, ge=1, le=10000, description="Request headers.")
    header_bytes: int = Field(default=32768, ge=1, le=1 << 20, description="Sum of names and values, bytes.")
    path_bytes: int = Field(default=8192, ge=1, le=1 << 20, description="Path with query, bytes.")
    json_depth: int = Field(default=64, ge=1, le=200, description="Nesting of a JSON body.")
