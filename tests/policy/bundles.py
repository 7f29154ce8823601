"""A version for a test: made of a source and published in a directory, of which no control log is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from authz.policy.making import DEFAULT_ENTRY_POINTS, make
from authz.policy.manifest import Analysis
from authz.policy.opa_tool import OpaTool
from authz.policy.signing import ensure_signing_key
from authz.policy.store import DirectoryStore
from authz.policy.version import Told, publish, utc_now
from authz.policy.versions import SUFFIX, Versions


class PolicyVersion(Struct, frozen=True):
    """A version as it lies in a directory."""

    revision: str
    version: str
    digest: str
    file: Path
    analysis: Analysis


def build_bundle(
    source: Path,
    out: Path,
    *,
    version: str,
    signing_key: Path,
    entry_points: Sequence[str] = DEFAULT_ENTRY_POINTS,
    wasm: bool = False,
    opa: str = "opa",
) -> PolicyVersion:
    """Check, test, analyse and sign `source`, and publish it in the directory `out`, of which no control log
    is told. Raises PolicyRejected as `make` and `publish` do.
    """
    tool, told = OpaTool(opa), Told("aegis", "aegis")
    ensure_signing_key(signing_key)
    made = make(source, version=version, entry_points=entry_points, wasm=wasm, tool=tool)
    store = Versions(DirectoryStore(out))
    publish(made, store, told, signing_key=signing_key, tool=tool, now=utc_now)
    file = out / f"{made.revision}{SUFFIX}"
    return PolicyVersion(made.revision, made.version, made.digest, file, made.analysis)
