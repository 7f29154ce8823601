"""The embedded engine for tests: of a version, of Rego, and following a bundle server as in production."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from authz.config import Settings
from authz.errors import Denied
from authz.followers.bundles import opa_config
from authz.policy.engine_wasm import WasmEngine
from authz.policy.making import ALGORITHM, KEY_ID
from authz.policy.opa_tool import OpaTool
from authz.policy.signed import verified
from authz.policy.signing import public_key
from authz.policy.wasm.binary import MODULE
from authz.policy.wasm.compiling import compile_wasm
from authz.policy.wasm.program import Bounds, Program
from tests.policy.bundles import PolicyVersion
from tests.policy.opa import bundle_server, signing_key

BOUNDS = Bounds(64_000_000, 50_000_000)


def files_of(version: PolicyVersion) -> dict[str, bytes]:
    return verified(version.file.read_bytes(), public_key(signing_key()), KEY_ID, ALGORITHM)


def program_of(version: PolicyVersion, entry: str = "aegis/decision", bounds: Bounds = BOUNDS) -> Program:
    files = files_of(version)
    return Program(files[MODULE], files.get("/data.json", b"{}"), entry, bounds)


def program(
    rego: str,
    entries: Sequence[str] = ("aegis/decision",),
    bounds: Bounds = BOUNDS,
    *,
    strict: bool = True,
    **data: Any,
) -> Program:
    """`package aegis` with the body `rego`, asked at the first of `entries`."""
    files = {"/aegis/decision.rego": f"package aegis\n\n{rego}\n".encode()}
    files["/data.json"] = json.dumps(data).encode()
    module = compile_wasm(files, entries, OpaTool())
    return Program(module, files["/data.json"], entries[0], bounds, strict=strict)


def said(asked: Program, **document: Any) -> Any:
    """What it decides about the document, or the denial in words."""
    try:
        return asked.decide(json.dumps(document).encode())
    except Denied as denied:
        return str(denied)


def settings_for(state: Path, url: str, **wasm: Any) -> Settings:
    """Of a worker that evaluates itself what is served at `url`."""
    run = state / "run"
    run.mkdir(parents=True, exist_ok=True)
    (run / "opa.json").write_text(json.dumps(opa_config(url, public_key(signing_key()), wait_s=1)))
    return Settings.model_validate({"state": state, "policy": {"engine": "wasm", "wasm": wasm}})


@asynccontextmanager
async def engine_following(directory: Path, state: Path, **wasm: Any) -> AsyncIterator[WasmEngine]:
    """An engine that follows what is active in the bundle `directory`."""
    async with bundle_server(directory) as url:
        engine = WasmEngine(settings_for(state, url, **wasm))
        await engine.start()
        try:
            yield engine
        finally:
            await engine.close()


async def revision(engine: WasmEngine) -> str:
    found = (await engine.get("/v1/data/system/bundles", 1))["result"]
    return ",".join(bundle["manifest"]["revision"] for bundle in found.values())


async def failure(engine: WasmEngine) -> Any:
    """What OPA would call the bundle's state."""
    await asyncio.sleep(0)
    return (await engine.get("/v1/status", 1))["result"]["bundles"]["aegis"]
