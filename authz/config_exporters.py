"""The settings of the exporters, as `config.py` has all others: unit, default, consequence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from pydantic import Field, field_validator, model_validator

from authz.config_section import Section as _Section

# S4's table of SIEM columns. What is not named here keeps its own name.
S4_COLUMNS: Final = {
    "timestamp": "@timestamp",
    "agent_id": "agent.id",
    "tool": "resource.name",
    "decision": "security.action",
    "policy_version": "policy.version",
    "attestation_signature": "audit.signature",
}
_ENDPOINT: Final = re.compile(r"unix:[^\s]+|(?:[^][:\s/]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
_LOOPBACK: Final = re.compile(r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]):[0-9]+")


class FilesExport(_Section):
    """Rotating JSON Lines for log shippers."""

    enabled: bool = Field(default=False, description="Write records as files; about as large as the ledger.")
    directory: Path = Field(
        default=Path("export/records"), description="Where (relative to `state`); one directory a worker."
    )
    columns: dict[str, str] = Field(
        default=S4_COLUMNS, description="Member to column; what is not named keeps its name."
    )
    max_bytes: int = Field(default=64 << 20, ge=1024, description="A file is rotated before it is larger.")
    max_age_s: float = Field(default=3600.0, ge=1, description="... or before it is older, seconds.")
    keep: int = Field(
        default=32,
        ge=1,
        le=100_000,
        description="Rotated files kept for each worker. Older ones go, whether they were shipped or not.",
    )

    @field_validator("columns")
    @classmethod
    def _distinct(cls, columns: dict[str, str]) -> dict[str, str]:
        for column in columns.values():
            others = [name for name, other in columns.items() if other == column]
            if len(others) > 1:
                raise ValueError(f"{' and '.join(others)} have the same column {column}")
            if not column or not column.isascii() or not column.isprintable():
                raise ValueError(f"{others[0]}: a column is printable ASCII")
        return columns


class OtlpExport(_Section):
    """OpenTelemetry logs over gRPC."""

    endpoint: str = Field(
        default="",
        description="Collector, `HOST:PORT` or `unix:PATH`; empty: none. Beyond loopback it needs `ca`.",
    )
    ca: Path | None = Field(default=None, description="CA certificates (PEM) of the collector; turns TLS on.")
    certificate: Path | None = Field(default=None, description="Our own certificate (PEM), with `key`.")
    key: Path | None = Field(default=None, description="Its private key (PEM), mode 0600.")
    headers: Path | None = Field(
        default=None, description="File (mode 0600) with a line `name: value` for each header to send."
    )
    timeout_s: float = Field(default=10.0, gt=0, le=300, description="For one request, seconds.")
    batch: int = Field(default=512, ge=1, le=8192, description="Most records in a request (and 1 MiB).")

    @field_validator("endpoint")
    @classmethod
    def _is_endpoint(cls, text: str) -> str:
        found = _ENDPOINT.fullmatch(text)
        if text and (not found or int(found[1] or 0) > 65535):
            raise ValueError("not HOST:PORT or unix:PATH")
        return text

    @model_validator(mode="after")
    def _protected(self) -> OtlpExport:
        local = self.endpoint.startswith("unix:") or _LOOPBACK.fullmatch(self.endpoint)
        if self.endpoint and not local and self.ca is None:
            raise ValueError("endpoint beyond loopback needs ca: records would travel in the open")
        if (self.certificate is None) is not (self.key is None):
            raise ValueError("certificate and key belong together")
        if self.certificate and self.ca is None:
            raise ValueError("certificate needs ca")
        return self


class Exporters(_Section):
    """Where records go besides the ledger, each with a cursor of its own in `directory`."""

    directory: Path = Field(
        default=Path("export"), description="Cursors and dead letters (relative to `state`)."
    )
    every_s: float = Field(
        default=5.0,
        ge=0,
        le=3600,
        description="Between two passes, seconds: how late records leave. More often costs the worker's "
        "syncs more of a shared disk.",
    )
    retry_max_s: float = Field(
        default=30.0, gt=0, le=3600, description="Longest wait between two attempts, seconds."
    )
    files: FilesExport = FilesExport()
    otlp: OtlpExport = OtlpExport()
