"""Evaluates policy in the worker: OPA's WebAssembly of the signed version that the bundles' server has.

In: a question (`facts.py`). Out: an Answer, or Denied: `policy_error` for what OPA could not evaluate either,
`engine_fuel`, `engine_memory` or `engine_trap` for an evaluation that went beyond its bounds. Called by
`stage.py`. A version becomes active whole, between two evaluations; one that cannot be used changes nothing.

An evaluation runs on the event loop: the default library's takes a third of a millisecond, a thread's turn
would cost a third of that again, and `policy.wasm.fuel` bounds the worst.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import orjson
from msgspec import Struct

from authz.config import Settings
from authz.errors import Denied
from authz.policy.activation import Failure
from authz.policy.engine import BUNDLES, STATUS, Answer
from authz.policy.manifest import entry_name, read_manifest
from authz.policy.signed import BundleRejected
from authz.policy.wasm.binary import MODULE
from authz.policy.wasm.program import Bounds, Program
from authz.policy.wasm.source import BundleSource, Files, read_told
from authz.values import Reason

_BUNDLE: Final = "aegis"


class _Version(Struct, frozen=True):
    """A version in force: its program, what its manifest says, and its revision as an answer names it."""

    program: Program
    manifest: dict[str, Any]
    revisions: dict[str, str]


class WasmEngine:
    """Answers by the version that `source` took last."""

    name = "wasm"

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError for an unusable `policy.wasm.opa_config`."""
        policy = settings.policy
        self.entry_point = policy.entry_point
        self._bounds = Bounds(policy.wasm.memory_mb * 1_000_000, policy.wasm.fuel)
        self._strict = not policy.compat
        kept = settings.path(policy.wasm.kept) / f"{settings.worker}.tar.gz"
        self._source = BundleSource(read_told(settings.path(policy.wasm.opa_config)), kept, self._take)
        self._version: _Version | None = None

    async def start(self) -> None:
        """Take the active version, if there is one, and follow the server from now on."""
        await asyncio.to_thread(self._source.first)
        self._source.start()

    async def decide(self, question: bytes, timeout_s: float) -> Answer:
        """Evaluate the entry point for `question`. An evaluation waits for nothing, so that `timeout_s` is
        not looked at.
        """
        version = self._version
        if version is None:
            raise Denied(Reason.ENGINE_UNAVAILABLE, "no policy version was loaded")
        return Answer(version.program.decide(question), version.revisions)

    async def get(self, path: str, timeout_s: float) -> Any:
        """As OPA says it: at BUNDLES the manifest in force, at STATUS why a bundle was not taken."""
        version, failure = self._version, self._source.failure
        if path == BUNDLES:
            return {"result": {_BUNDLE: {"manifest": version.manifest}} if version else {}}
        if path == STATUS:
            return {"result": {"bundles": {_BUNDLE: _said(failure) if failure else {}}}}
        raise Denied(Reason.ENGINE_UNAVAILABLE, f"the embedded engine has nothing at {path}")

    async def close(self) -> None:
        self._source.stop()

    def _take(self, files: Files) -> None:
        """Make a version of a bundle that is ours, on the source's thread, and put it into force."""
        manifest = orjson.loads(files.get("/.manifest", b"{}"))
        known = read_manifest(manifest)
        if known is None:
            raise BundleRejected("bad_roots", "not a version of ours that owns every path")
        if MODULE not in files:
            raise BundleRejected("not_activated", f"{known.revision}: published without --wasm")
        entry, data = entry_name(self.entry_point), files.get("/data.json", b"{}")
        program = Program(files[MODULE], data, entry, self._bounds, strict=self._strict)
        self._version = _Version(program, manifest, {_BUNDLE: known.revision})  # at once, for every reader


def _said(failure: Failure) -> dict[str, Any]:
    return {"code": "bundle_error", "errors": [{"code": failure.code, "message": failure.detail}]}
