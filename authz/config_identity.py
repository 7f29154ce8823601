"""The section `identity`: who is believed to be whom."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from authz.config_section import Section as _Section
from authz.values import Assurance

_PLAIN = re.compile(r"[\x21-\x7e]{1,2048}")


def _key_url(text: str) -> str:
    """Whoever can answer in the issuer's place decides who is believed."""
    if not text:
        return text
    url = urlsplit(text)
    if not url.hostname or url.username is not None or url.fragment or not _PLAIN.fullmatch(text):
        raise ValueError("not https://HOST[:PORT]/PATH")
    _ = url.port  # raises ValueError beyond 65535
    if url.scheme == "http":
        try:
            loopback = ipaddress.ip_address(url.hostname).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise ValueError("http only with a loopback address: https elsewhere")
    elif url.scheme != "https":
        raise ValueError("neither https nor http")
    return text


KeyUrl = Annotated[str, AfterValidator(_key_url)]
TrustDomain = Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,255}$")]


class Identity(_Section):
    """Who may call themselves what."""

    jwks: Path = Field(
        default=Path("keys/agents.jwks.json"),
        description="JWK set with the public keys that sign agents' tokens (relative to `state`).",
    )
    jwks_url: KeyUrl = Field(
        default="",
        description="URL of the issuer's JWK set, used instead of `jwks`: https, or http on a loopback "
        "address. Fetched in the background; no redirects, no proxy.",
    )
    jwks_ca: Path | None = Field(
        default=None, description="CAs for `jwks_url`, PEM (relative to `state`); unset: the system's."
    )
    jwks_refresh_s: float = Field(
        default=300.0,
        ge=1,
        le=86400,
        description="Longest time between two requests to `jwks_url`, seconds; its Cache-Control may "
        "make it shorter.",
    )
    jwks_early_s: float = Field(
        default=30.0,
        ge=1,
        le=3600,
        description="Shortest time between them, whatever Cache-Control says and however many tokens name "
        "unknown keys, seconds.",
    )
    jwks_timeout_s: float = Field(default=5.0, gt=0, le=60, description="For one request, seconds.")
    keys_max_age_s: float = Field(
        default=3600.0,
        ge=0,
        description="Deny `identity_keys_stale` when the keys could not be read for so long, seconds; "
        "0: never. Longer than `jwks_refresh_s`.",
    )
    issuer: str = Field(default="https://agents.aegis.test", min_length=1, description="Required `iss`.")
    audience: str = Field(default="aegis", min_length=1, description="Required `aud`.")
    algorithms: tuple[Literal["EdDSA", "ES256", "RS256"], ...] = Field(
        default=("EdDSA", "ES256", "RS256"),
        description="Accepted `alg`; each key is used with one algorithm only.",
    )
    skew_s: int = Field(
        default=30, ge=0, le=300, description="Clock skew allowed on exp, nbf and iat, seconds."
    )
    max_token_life_s: int = Field(
        default=3600, ge=1, le=86400, description="Longest exp - iat of a token, seconds."
    )
    token_cache: int = Field(default=4096, ge=0, description="Verified tokens kept, by SHA-256 of the token.")
    use_authorization: bool = Field(
        default=False,
        description="Also read `Authorization: Bearer`; it is then removed before the upstream sees it.",
    )
    trust_domains: tuple[TrustDomain, ...] = Field(
        default=(),
        description="SPIFFE trust domains whose workloads are agents by their client certificate (Envoy's "
        "source.principal): assurance `mtls`. Empty: certificates establish nobody.",
    )
    trust_xfcc: bool = Field(
        default=False,
        description="Read the last element of x-forwarded-client-cert, too: only where Envoy itself writes "
        "it or takes it from `xfcc_proxies` alone. Otherwise agents name themselves.",
    )
    xfcc_proxies: tuple[str, ...] = Field(
        default=(),
        description="With `trust_xfcc`: SPIFFE ids of proxies before Envoy, which speak for their clients "
        "and are no agents themselves.",
    )
    source_key: Path = Field(
        default=Path("keys/source.key"),
        description="32 bytes as hex, mode 0600, made when missing: records name a client's address by a tag "
        "that only this key ties to it. The same for all workers.",
    )
    development_header: str = Field(
        default="", description="Name of an unverified agent-id header; development only, assurance `header`."
    )
    minimum_assurance: Assurance = Field(
        default=Assurance.JWT,
        description="Weaker subjects are denied `identity_assurance` before policy is asked.",
    )
    anonymous: bool = Field(
        default=False,
        description="Let policy judge who presents no credential: agent `unknown`, assurance `none`, so "
        "`minimum_assurance` must be `none`. Credentials that are presented must still be good.",
    )

    @model_validator(mode="after")
    def _refreshed_in_time(self) -> Identity:
        if self.jwks_url and 0 < self.keys_max_age_s <= self.jwks_refresh_s:
            raise ValueError(
                "keys_max_age_s: not longer than jwks_refresh_s, so that keys would always expire"
            )
        if self.anonymous and self.minimum_assurance is not Assurance.NONE:
            raise ValueError("anonymous: needs minimum_assurance: none")
        if self.jwks_early_s > self.jwks_refresh_s:
            raise ValueError("jwks_early_s: longer than jwks_refresh_s")
        return self
