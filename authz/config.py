"""One frozen settings tree. Every field says its unit, default and what a different value costs.

Unknown keys are errors. Secrets are never values here, only names of files. `config_file.py` reads it from a
file and the environment.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from authz.config_addresses import AddressOrNone, HostPort, HostPortOrNone
from authz.config_anchors import Anchors, S3Access
from authz.config_candidate import Candidate
from authz.config_checkpoints import Store
from authz.config_evidence import Disclosures, Redaction
from authz.config_exporters import Exporters
from authz.config_identity import Identity
from authz.config_listen import Limits, Listen
from authz.config_policy import Policy
from authz.config_publish import BundleS3, Publishing
from authz.config_retention import Retention
from authz.config_root import Root
from authz.config_section import Section as _Section
from authz.config_shadow import ShadowSettings

OriginPart = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$")]


def _worker(name: str) -> str:
    if name == "control":
        raise ValueError("`control` is the name of the deployment's own log")
    return name


# Header names whose values may let somebody in: they are no correlation ids, whatever a setting says.
_MAY_BE_SECRET = re.compile(r"auth|cookie|token|secret|key|pass|session|credential|signature|x-aegis-")


def _correlation_header(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,64}", name):
        raise ValueError("not a header's name in lower case")
    if _MAY_BE_SECRET.search(name):
        raise ValueError(f"{name} may hold a credential")
    return name


CorrelationHeader = Annotated[str, AfterValidator(_correlation_header)]


class Ledger(_Section):
    """How records get down."""

    reply_after: Literal["synced", "bounded"] = Field(
        default="bounded",
        description="`synced` waits for fdatasync always; `bounded` for at most `sync_wait_ms`, then answers "
        "and writes a `late_sync` entry.",
    )
    sync_wait_ms: float = Field(default=5.0, ge=0, le=1000, description="Bound for `bounded`; 0: never wait.")
    sync_interval_ms: float = Field(
        default=1.5, ge=0, le=100, description="Shortest time between two syncs under load, milliseconds."
    )
    heartbeat_s: float = Field(
        default=30.0, gt=0, le=3600, description="Idle time before a `heartbeat` entry."
    )
    quota_bytes: int = Field(
        default=0,
        ge=0,
        description="Most bytes of all ledgers below `state`; 0: the disk's end. Then denied.",
    )
    record_key: Path = Field(default=Path("keys/record.key"), description="Ed25519 seed, mode 0600.")
    log_key: Path = Field(
        default=Path("keys/log.key"), description="Ed25519 seed for checkpoints, mode 0600."
    )


class Outcomes(_Section):
    """What became of requests, from Envoy's access log service (`listen.outcomes`)."""

    after_s: float = Field(
        default=60.0,
        gt=0,
        le=86400,
        description="A decision without outcome after so long is counted as such, seconds; Envoy logs a "
        "request when it ends, so streams and tunnels count as late.",
    )
    waiting: int = Field(
        default=4096,
        ge=1,
        le=65536,
        description="Outcomes that may wait to be recorded; more are dropped and counted.",
    )
    correlation_headers: tuple[CorrelationHeader, ...] = Field(
        default=("x-correlation-id", "x-request-id"),
        max_length=16,
        description="Headers (lower case) of request and response whose values are kept as ids, as far as "
        "Envoy logs them. A value that does not look like an id is masked.",
    )


class Reply(_Section):
    denial_detail: Literal["minimal", "full"] = Field(
        default="minimal",
        description="`full` tells agents the rule and rationale: policy can then be probed.",
    )


class Telemetry(_Section):
    otlp_endpoint: str = Field(default="", description="OTLP/HTTP traces URL; empty: no spans are exported.")
    sampling: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Part of new traces sampled; a sampled parent is always followed.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Of stderr.")


class Follower(_Section):
    """The process that seals and serves; it never slows a worker."""

    nice: int = Field(
        default=10,
        ge=0,
        le=19,
        description="Its priority beside workers on the same CPUs, as nice(1) has it. At 0 sealing stands "
        "before decisions now and then; the higher it is, the later records are sealed on a full machine.",
    )
    checkpoint_s: float = Field(default=1.0, gt=0, le=3600, description="Time between checkpoints, seconds.")
    checkpoint_store: Store = Field(
        default="checkpoints.sqlite",
        description="Compare-and-swap store of the last signed size, apart from the ledger: an SQLite file, "
        "`postgresql://USER@HOST/DATABASE` or `s3://BUCKET/PREFIX`. Workers read it when they start.",
    )
    checkpoint_s3: S3Access = S3Access()
    candidate: Candidate = Candidate()
    record_keys: tuple[Path, ...] = Field(
        default=(),
        description="Record keys of workers that do not share `ledger.record_key`: nothing is sealed that "
        "another key attests.",
    )
    heads_s: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="Seconds between two `log_head` entries of a log in the control log: so much of its end "
        "could be taken away without trace.",
    )
    bundles: HostPort = Field(
        default="127.0.0.1:8282", description="HOST:PORT that serves policy bundles to OPA."
    )
    bundle_directory: Path = Field(
        default=Path("bundles"), description="Published versions, unless `bundle_s3.url` is set."
    )
    bundle_s3: BundleS3 = BundleS3()
    metrics: HostPortOrNone = Field(
        default="127.0.0.1:9465", description="HOST:PORT of the follower's /metrics; empty turns it off."
    )
    stream: AddressOrNone = Field(
        default="unix:run/ledger.sock",
        description="Address of the record stream (proto/aegis/v1/ledger.proto), `unix:PATH`, "
        "or `HOST:PORT` in development: whoever reaches it reads every record. Empty: none is served.",
    )


class Settings(_Section):
    """The whole tree. Relative paths in sections are below `state`."""

    deployment: OriginPart = Field(default="aegis.local", description="First part of every log's origin.")
    worker: Annotated[OriginPart, AfterValidator(_worker)] = Field(
        default="worker-0", description="Second part: one worker, one log. Not `control`."
    )
    state: Path = Field(default=Path("var"), description="Directory for ledger, keys, sockets and bundles.")
    development: bool = Field(
        default=False, description="Permits TCP without TLS, `development_header` and `development_unsigned`."
    )
    listen: Listen = Listen()
    limits: Limits = Limits()
    identity: Identity = Identity()
    policy: Policy = Policy()
    shadow: ShadowSettings = ShadowSettings()
    publishing: Publishing = Publishing()
    ledger: Ledger = Ledger()
    outcomes: Outcomes = Outcomes()
    redaction: Redaction = Redaction()
    disclosures: Disclosures = Disclosures()
    retention: Retention = Retention()
    reply: Reply = Reply()
    telemetry: Telemetry = Telemetry()
    follower: Follower = Follower()
    exporters: Exporters = Exporters()
    anchors: Anchors = Anchors()
    root: Root = Root()

    @model_validator(mode="after")
    def _development_only(self) -> Settings:
        outcomes, stream = self.listen.outcomes, self.follower.stream
        wants = {
            "follower.stream on TCP": bool(stream) and not stream.startswith("unix:"),
            "listen.outcomes on TCP without TLS": bool(outcomes) and not self._guarded(outcomes),
            "listen.check on TCP without TLS": not self.protected,
            "identity.development_header": bool(self.identity.development_header),
            "policy.development_unsigned": self.policy.development_unsigned,
        }
        unix = self.listen.check.startswith("unix:") and (not outcomes or outcomes.startswith("unix:"))
        if self.listen.tls.certificate and unix:
            raise ValueError("listen.tls is for TCP, and Envoy is listened to on Unix sockets")
        for name, wanted in wants.items():
            if wanted and not self.development:
                raise ValueError(f"{name} needs development: true")
        return self

    def path(self, relative: Path) -> Path:
        """`relative` below the state directory (absolute paths stay)."""
        return self.state / relative

    @property
    def ledger_directory(self) -> Path:
        """Where this worker's epochs are."""
        return self.state / "ledger" / self.worker

    @property
    def origins(self) -> tuple[str, str]:
        """What the names of this worker's logs, and of the deployment's control logs, begin with."""
        return f"{self.deployment}/{self.worker}/", f"{self.deployment}/control/"

    @property
    def outbox(self) -> Path:
        """Where events wait to be written into the deployment's control log (`ledger/outbox.py`)."""
        return self.state / "control.sqlite"

    @property
    def protected(self) -> bool:
        """Whether only Envoy can reach Check: a Unix socket of mode 0600, or mTLS with its pin."""
        return self._guarded(self.listen.check)

    def _guarded(self, address: str) -> bool:
        return address.startswith("unix:") or self.listen.tls.certificate is not None
