"""The settings of the anchors, as `config.py` has all others: unit, default, consequence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from authz.config_section import Section

_PLAIN: Final = re.compile(r"[\x21-\x7e]{1,2048}")
_LOOPBACK: Final = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|::1")


def _url(text: str) -> str:
    """An address that is asked over HTTP. What it answers is signed, so `http` is no danger by itself."""
    if not text:
        return text
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or not _PLAIN.fullmatch(text):
        raise ValueError("not http[s]://HOST[:PORT]/PATH")
    if url.username is not None or url.fragment:
        raise ValueError("an address with a user or a fragment")
    _ = url.port  # raises ValueError beyond 65535
    return text


def _endpoint(text: str) -> str:
    """Where credentials go: in the open only on this machine."""
    _url(text)
    if text.startswith("http:") and not _LOOPBACK.fullmatch(urlsplit(text).hostname or ""):
        raise ValueError("http only with a loopback address: https elsewhere")
    return text


Url = Annotated[str, AfterValidator(_url)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]


Of = Literal["control", "all"]
OF = (
    "Which logs: `control`, whose heads bind all others every `follower.heads_s`, or `all`, each by itself. "
    "Every epoch is a log of its own"
)


class WitnessAnchor(Section):
    """Witnesses that cosign checkpoints (c2sp.org/tlog-witness)."""

    policy: Path | None = Field(
        default=None,
        description="Policy file (c2sp.org/tlog-policy, relative to `state`): names, vkeys, submission URLs "
        "and the quorum. Unset: no witnesses are asked.",
    )
    of: Of = Field(default="control", description=f"{OF}, which witnesses must be told.")
    ca: Path | None = Field(
        default=None, description="CAs for https URLs, PEM (relative to `state`); unset: the system's."
    )
    every_s: float = Field(default=60.0, gt=0, le=86400, description="Time between two of a log, seconds.")
    timeout_s: float = Field(default=10.0, gt=0, le=60, description="For one request, seconds.")


class Rfc3161Anchor(Section):
    """A time-stamping authority (RFC 3161 over HTTP)."""

    url: Url = Field(default="", description="Its URL; empty: none is asked. No redirects, no proxy.")
    roots: Path | None = Field(
        default=None,
        description="Who vouches for it, certificates in PEM (relative to `state`). Stamps that do not lead "
        "there are refused.",
    )
    of: Of = Field(default="control", description=f"{OF}.")
    ca: Path | None = Field(
        default=None, description="CAs for an https URL, PEM (relative to `state`); unset: the system's."
    )
    every_s: float = Field(default=600.0, gt=0, le=86400, description="Time between two of a log, seconds.")
    timeout_s: float = Field(default=15.0, gt=0, le=60, description="For one request, seconds.")

    @model_validator(mode="after")
    def _checkable(self) -> Rfc3161Anchor:
        if self.url and self.roots is None:
            raise ValueError("url needs roots: an unchecked time stamp proves nothing")
        return self


class S3Access(Section):
    """Which S3 server, and who asks it."""

    endpoint: Endpoint = Field(default="", description="URL of an S3 server; empty: AWS.")
    region: str = Field(default="us-east-1", pattern=r"^[a-z0-9-]{1,63}$", description="Its region.")
    credentials: Path | None = Field(
        default=None,
        description="Shared credentials file of the AWS tools, profile `default`, mode 0600 (relative to "
        "`state`); unset: what boto3 finds by itself (environment, role).",
    )
    timeout_s: float = Field(default=10.0, gt=0, le=60, description="For one request, seconds.")


class S3Anchor(S3Access):
    """Objects under lock in compliance mode."""

    bucket: str = Field(
        default="",
        pattern=r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$",
        description="Bucket with object lock enabled; empty: none.",
    )
    of: Of = Field(default="control", description=f"{OF}.")
    prefix: str = Field(
        default="anchors/",
        pattern=r"^[A-Za-z0-9._/-]{0,255}$",
        description="Before each key; behind it comes `<log>/<20-digit size>`.",
    )
    retain_days: int = Field(
        default=366,
        ge=1,
        le=36500,
        description="How long nobody can delete them, days. It can never be shortened again, by anyone.",
    )
    every_s: float = Field(default=300.0, gt=0, le=86400, description="Time between two of a log, seconds.")


class DirectoryAnchor(Section):
    """A plain directory on another machine's disk, or one that others collect."""

    path: Path | None = Field(
        default=None,
        description="Where to put checkpoints (relative to `state`), made by others; unset: none.",
    )
    of: Of = Field(default="all", description=f"{OF}.")
    every_s: float = Field(default=60.0, gt=0, le=86400, description="Time between two of a log, seconds.")


class Anchors(Section):
    """Who outside sees the checkpoints, so that not even the holder of all keys can change what is below."""

    receipts: Path = Field(
        default=Path("anchors"),
        description="What they answered, by log and size (relative to `state`), for "
        "`aegis verify --anchors`: about 5 KB for each anchor.",
    )
    retry_max_s: float = Field(
        default=300.0, gt=0, le=3600, description="Longest wait between two attempts, seconds."
    )
    start_wait_s: float = Field(
        default=3.0,
        ge=0,
        le=60,
        description="How long a start waits for each answer on what was seen of its log, seconds; 0: nobody "
        "is asked, and a disk that was rolled back with its checkpoint store goes unnoticed until later.",
    )
    witness: WitnessAnchor = WitnessAnchor()
    rfc3161: Rfc3161Anchor = Rfc3161Anchor()
    s3: S3Anchor = S3Anchor()
    directory: DirectoryAnchor = DirectoryAnchor()

    def of(self, kind: str) -> str:
        """Which logs the anchor `kind` is shown."""
        return {
            "witness": self.witness.of,
            "rfc3161": self.rfc3161.of,
            "s3": self.s3.of,
            "directory": self.directory.of,
        }[kind]

    @property
    def any(self) -> bool:
        """Whether somebody outside is shown checkpoints."""
        return bool(self.witness.policy or self.rfc3161.url or self.s3.bucket or self.directory.path)
