"""One frozen settings tree. Every field says its unit, default and what a different value costs.

Unknown keys are errors. Secrets are never values here, only names of files. `config_file.py` reads it from a
file and the environment.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from authz.config_anchors import Anchors, S3Access
from authz.config_candidate import Candidate
from authz.config_checkpoints import Store
from authz.config_compat import Plugin
from authz.config_evidence import Disclosures, Redaction
from authz.config_exporters import Exporters
from authz.config_publish import BundleS3, Publishing
from authz.config_retention import Retention
from authz.config_root import Root
from authz.config_section import Section as _Section
from authz.config_shadow import ShadowSettings
from authz.config_wasm import Wasm
from authz.values import Assurance

_PINNED = re.compile(
    r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+|dns:[a-z0-9._-]{1,253}|sha256:[0-9a-f]{64}"
)
_PLAIN = re.compile(r"[\x21-\x7e]{1,2048}")
_HOST_PORT = re.compile(r"(?:[^][:\s]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")

OriginPart = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$")]


def _worker(name: str) -> str:
    if name == "control":
        raise ValueError("`control` is the name of the deployment's own log")
    return name


def _host_port(text: str) -> str:
    """Ports beyond 65535 must not reach gRPC: it takes them modulo 65536, and listens elsewhere."""
    found = _HOST_PORT.fullmatch(text)
    if not found or int(found[1]) > 65535:
        raise ValueError("not HOST:PORT with a port up to 65535")
    return text


def _check_address(text: str) -> str:
    if not text.startswith("unix:"):
        return _host_port(text)
    if len(text) == 5 or not text.isprintable():
        raise ValueError("no path after unix:")
    return text


def split_host_port(text: str) -> tuple[str, int, socket.AddressFamily]:
    """Of `HOST:PORT` or `[IPv6]:PORT`: host without brackets, port, and the family to listen in.

    Raises ValueError for what the settings would refuse.
    """
    host, _, port = _host_port(text).rpartition(":")
    host = host.strip("[]")
    return host, int(port), socket.AF_INET6 if ":" in host else socket.AF_INET


HostPort = Annotated[str, AfterValidator(_host_port)]
HostPortOrNone = Annotated[str, AfterValidator(lambda text: text and _host_port(text))]
CheckAddress = Annotated[str, AfterValidator(_check_address)]
AddressOrNone = Annotated[str, AfterValidator(lambda text: text and _check_address(text))]

# Header names whose values may let somebody in: they are no correlation ids, whatever a setting says.
_MAY_BE_SECRET = re.compile(r"auth|cookie|token|secret|key|pass|session|credential|signature|x-aegis-")


def _correlation_header(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,64}", name):
        raise ValueError("not a header's name in lower case")
    if _MAY_BE_SECRET.search(name):
        raise ValueError(f"{name} may hold a credential")
    return name


CorrelationHeader = Annotated[str, AfterValidator(_correlation_header)]


def _pinned(text: str) -> str:
    """An identity of Envoy's certificate, in the one form in which it is compared."""
    if not _PINNED.fullmatch(text):
        raise ValueError("not spiffe://DOMAIN/PATH, dns:NAME in lower case, or sha256:64 HEX DIGITS")
    return text


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


# Empty parts do not count, as in the paths of OPA's API.
EntryPoint = Annotated[str, AfterValidator(lambda text: "/".join(filter(None, text.split("/"))))]
KeyUrl = Annotated[str, AfterValidator(_key_url)]
Pinned = Annotated[str, AfterValidator(_pinned)]
TrustDomain = Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,255}$")]


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
