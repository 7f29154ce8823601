"""The settings of the root key that vouches for record keys, as `config.py` has all others."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from authz.config_section import Section


class Root(Section):
    """A P-256 key in a PKCS#11 token (an HSM): verifiers pin it, and record keys live for a day."""

    module: Path | None = Field(
        default=None,
        description="The token's PKCS#11 library, an absolute path. None: there is no root, and verifiers "
        "pin every record key.",
    )
    token: str = Field(default="aegis", description="The token's label.")
    key: str = Field(default="aegis-root", description="Label of the root key in it.")
    pin_file: Path = Field(
        default=Path("keys/root.pin"),
        description="The user PIN, one line, mode 0600. Only the follower and `aegis keys` read it.",
    )
    certificate: Path = Field(
        default=Path("keys/root.pem"), description="The root's own certificate, made by `aegis keys root`."
    )
    life_s: float = Field(
        default=86400.0,
        gt=0,
        le=366 * 86400,
        description="How long a record key is certified for, seconds. Nothing is recorded after that: "
        "denied `evidence_unavailable`.",
    )
    renew_before_s: float = Field(
        default=43200.0,
        gt=0,
        description="The follower renews so long before the end, seconds: how long the token may be away.",
    )
    timeout_s: float = Field(default=30.0, gt=0, le=600, description="What a renewal may take, seconds.")

    @model_validator(mode="after")
    def _renewed_in_time(self) -> Root:
        if self.renew_before_s >= self.life_s:
            raise ValueError("renew_before_s: not shorter than life_s, so that keys would always be renewed")
        if self.module and not self.module.is_absolute():
            raise ValueError("module: not an absolute path")
        return self
