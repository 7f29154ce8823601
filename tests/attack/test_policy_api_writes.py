"""Attack: change policy, data or its stated revision over OPA's own API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from authz.errors import Denied
from authz.policy.connections import Connections
from authz.testing import a_request
from authz.values import Reason
from tests.policy.opa import ALLOW, DENY, OpaProcess, decide, opa, opa_with, started, version_of, write

DATA = {"data.json": '{"agents": ["a"]}'}
FORGED = {"aegis": {"manifest": {"revision": f"v9+{'9' * 64}", "roots": [""]}}}
WRITES = {
    "policy": ("PUT", "/v1/policies/x", f"package aegis\n\ndecision := {ALLOW}"),
    "own policy": ("PUT", "/v1/policies/aegis/decision.rego", f"package aegis\n\ndecision := {ALLOW}"),
    "data": ("PUT", "/v1/data/agents", '["a", "intruder"]'),
    "new data": ("PUT", "/v1/data/anything", "1"),
    "data patch": ("PATCH", "/v1/data/agents", '[{"op": "add", "path": "-", "value": "intruder"}]'),
    "root patch": ("PATCH", "/v1/data", '[{"op": "remove", "path": "/agents"}]'),
    "delete data": ("DELETE", "/v1/data/agents", ""),
    "revision": ("PUT", "/v1/data/system/bundles", json.dumps(FORGED)),
    "system": ("PUT", "/v1/data/system", json.dumps({"bundles": FORGED})),
    "system patch": ("PATCH", "/v1/data/system", '[{"op": "remove", "path": "/bundles"}]'),
    "root": ("PUT", "/v1/data", json.dumps({"system": {"bundles": FORGED}})),
}


async def wrote(process: OpaProcess, method: str, path: str, body: str) -> int:
    """The status of an attacker's request over the engine's own transport."""
    head = f"{method} {path} HTTP/1.1\r\nHost: opa\r\nContent-Length: {len(body)}\r\n\r\n"
    connections = Connections(process.socket, 1)
    try:
        status, _ = await connections.exchange((head + body).encode(), 5.0)
        return status
    finally:
        connections.close()


async def state(process: OpaProcess) -> tuple[Any, Any]:
    return await process.get("/v1/data"), await process.get("/v1/policies")


async def test_opa_refuses_every_write_while_the_bundle_owns_every_path(tmp_path: Path) -> None:
    version = version_of(tmp_path, DENY, **DATA)
    async with opa_with(version) as process:
        (loaded,) = (await process.get("/v1/policies"))["result"]
        own = {"delete own policy": ("DELETE", f"/v1/policies/{quote(loaded['id'], safe='')}", "")}
        before = await state(process)
        for name, write_ in (WRITES | own).items():
            assert await wrote(process, *write_) >= 400, name
            assert await state(process) == before, name
        async with started(process.socket) as policy:
            assert (await decide(policy, a_request())).policy_version == "v1"


async def test_with_partial_roots_a_revision_could_be_forged_and_such_bundles_never_allow(
    tmp_path: Path,
) -> None:
    """Why `roots` must be [""]: shows that the attack works where we do not build the bundle."""
    tree = {"aegis/p.rego": f"package aegis\n\ndecision := {ALLOW}", ".manifest": '{"roots": ["aegis"]}'}
    async with opa("-b", str(write(tmp_path / "partial", tree))) as process:
        assert await wrote(process, "PUT", "/v1/data/elsewhere", "1") < 400
        async with started(process.socket) as policy:
            with pytest.raises(Denied) as caught:
                await decide(policy, a_request())
    assert caught.value.reason is Reason.POLICY_ERROR
