"""Attack: take the bundle server's port and offer an older version, which is validly signed.

OPA takes it: to OPA a signature is all. With `policy.named_s` the worker does not: the deployment's control
log does not say that this version was activated, and who holds a port cannot write there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import Struct

from authz.config import Settings
from authz.errors import Denied
from authz.followers.releases import Releases
from authz.ledger.activations import standings
from authz.policy.stage import PolicyStage, open_stage
from authz.policy.store import DirectoryStore
from authz.policy.versions import Versions
from authz.testing import a_request
from authz.values import Reason
from tests.policy.opa import ALLOW, DENY, OpaProcess, activate, decide, opa_pulling, until, version_of

RULE = f"decision := {ALLOW} if input.destination.host"
BAN = 'decision := {"decision": "deny", "reason_code": "banned", "rule": "ban"} if input.destination.host'


class Place(Struct):
    """v1 denies and v2 allows; both were activated in their order, v2 is active."""

    directory: Path
    releases: Releases
    process: OpaProcess
    policy: PolicyStage

    async def offered(self, version: str) -> None:
        """Serve `version` without a word in the control log, as another server on that port would, until OPA
        has it and the worker has looked.
        """
        activate(self.directory, version)
        await until(lambda: self.has(version))

    async def has(self, version: str) -> bool:
        return (await self.process.revision()).startswith(f"{version}+")

    async def denied(self, host: str) -> Denied:
        with pytest.raises(Denied) as caught:
            await decide(self.policy, a_request(host=host))
        return caught.value


@asynccontextmanager
async def place(tmp_path: Path, named_s: float, old: str = DENY, new: str = RULE) -> AsyncIterator[Place]:
    for name, rego in (("v1", old), ("v2", new)):
        directory = version_of(tmp_path, rego, name).file.parent
    releases = Releases(Versions(DirectoryStore(directory)), tmp_path / "control.sqlite", "ana")
    releases.activate("v1")
    async with opa_pulling(directory) as process:
        told = {"opa_socket": process.socket, "timeout_ms": 5000, "poll_ms": 50, "named_s": named_s}
        settings = Settings.model_validate({"state": tmp_path, "policy": told})
        policy = open_stage(settings, standing=standings(settings))
        at = Place(directory, releases, process, policy)
        releases.activate("v2")
        await until(lambda: at.has("v2"))
        await policy.start()
        try:
            await until(lambda: policy.version == "v2")
            yield at
        finally:
            await policy.stop()


async def test_an_older_signed_version_decides_nothing(tmp_path: Path) -> None:
    """Here the older one would allow what the newer denies."""
    async with place(tmp_path, 0.05, old=RULE, new=BAN) as at:
        before = await decide(at.policy, a_request(host="a.example"))
        assert (before.decision, before.policy_version) == ("deny", "v2")
        await at.offered("v1")
        denied = await at.denied("b.example")
        assert denied.reason is Reason.POLICY_STALE
        assert denied.detail.startswith("opa has v1: v2 was activated at ")
        await until(lambda: not at.policy.ready)
        # What v2 said is still said, and of v1 nothing is known.
        kept = await decide(at.policy, a_request(host="a.example"))
        assert (kept.policy_version, kept.cache) == ("v2", "hit")
        assert at.policy.version == "v2"


async def test_going_back_by_an_activation_is_no_attack(tmp_path: Path) -> None:
    async with place(tmp_path, 0.05) as at:
        at.releases.activate("v1")
        await until(lambda: at.policy.version == "v1")
        verdict = await decide(at.policy, a_request())
        assert (verdict.decision, verdict.policy_version) == ("deny", "v1")


async def test_the_version_that_was_activated_ends_the_attack(tmp_path: Path) -> None:
    async with place(tmp_path, 0.05) as at:
        await at.offered("v1")
        await until(lambda: not at.policy.ready)
        await at.offered("v2")
        await until(lambda: at.policy.ready)
        assert (await decide(at.policy, a_request())).policy_version == "v2"


async def test_a_worker_that_starts_under_attack_has_no_policy(tmp_path: Path) -> None:
    async with place(tmp_path, 0.05) as at:
        await at.offered("v1")
        told = {"opa_socket": at.process.socket, "timeout_ms": 5000, "named_s": 0.05}
        settings = Settings.model_validate({"state": tmp_path, "policy": told})
        policy = open_stage(settings, standing=standings(settings))
        await policy.start()
        assert (policy.version, policy.ready) == ("none", False)
        with pytest.raises(Denied):
            await decide(policy, a_request())
        await policy.stop()


async def test_without_the_setting_the_record_names_the_older_version(tmp_path: Path) -> None:
    """What remains then: it decides, and every record says so."""
    async with place(tmp_path, 0.0) as at:
        await at.offered("v1")
        verdict = await decide(at.policy, a_request())
        assert (verdict.decision, verdict.policy_version) == ("deny", "v1")
