"""A bundle that OPA cannot take: the version before decides on, and the fault is named wherever one looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from authz.followers.activation import WHO, ActivationNotes
from authz.followers.bundles import opa_config
from authz.ledger.outbox import Outbox
from authz.policy.activation import ActivationWatch
from authz.policy.engine_opa import OpaEngine
from authz.policy.signing import public_key
from authz.policy.stage import PolicyStage
from authz.policy.store import DirectoryStore
from authz.policy.versions import Versions
from authz.testing import a_request
from tests.policy.faults import FAULTS, LIMIT, VERSION, Fault
from tests.policy.opa import (
    DENY,
    OpaProcess,
    activate,
    bundle_server,
    decide,
    signing_key,
    started,
    until,
    version_of,
)


class Place(Struct):
    """An OPA that has v1 from a real bundle server, and everybody who looks at it."""

    directory: Path
    process: OpaProcess
    policy: PolicyStage
    watch: ActivationWatch
    notes: ActivationNotes
    outbox: Outbox
    server: AsyncExitStack

    def events(self) -> list[dict[str, Any]]:
        return [event.members for event in self.outbox.waiting(100) if event.kind == "policy"]

    async def failed(self) -> bool:
        await self.watch.look()
        await self.notes.look()
        return self.watch.failure is not None and bool(self.events())


@asynccontextmanager
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    version = version_of(tmp_path, DENY, "v1")
    directory = version.file.parent
    activate(directory, "v1")
    async with AsyncExitStack() as server:
        url = await server.enter_async_context(bundle_server(directory))
        process = OpaProcess()
        config = opa_config(url, public_key(signing_key()), wait_s=1)
        config["bundles"]["aegis"]["size_limit_bytes"] = LIMIT
        try:
            await process.start_with(config)

            async def loaded() -> bool:
                return await process.revision() == version.revision

            await until(loaded)
            with Outbox(tmp_path / "control.sqlite") as outbox:
                engines = [OpaEngine(process.socket, "none", connections=1) for _ in range(2)]
                async with started(process.socket) as policy:
                    notes = ActivationNotes(engines[1], Versions(DirectoryStore(directory)).active, outbox)
                    yield Place(
                        directory, process, policy, ActivationWatch(engines[0], 60), notes, outbox, server
                    )
                for engine in engines:
                    await engine.close()
        finally:
            await process.stop()


@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda fault: fault.name)
async def test_a_bad_bundle_is_named_and_the_version_before_decides_on(tmp_path: Path, fault: Fault) -> None:
    async with place(tmp_path) as at:
        before = await decide(at.policy, a_request())
        revision = fault.make(tmp_path)
        activate(at.directory, VERSION)
        await until(at.failed)
        assert at.watch.failure is not None
        assert (at.watch.failure.code, at.notes.failure) == (fault.code, at.watch.failure)
        assert at.watch.failed_s > 0
        assert at.notes.awaited_s > 0
        (said,) = at.events()
        assert said == {
            "action": "fail",
            "policy_version": VERSION,
            "policy_digest": revision.partition("+")[2],
            "who": WHO,
            "code": fault.code,
            "detail": at.watch.failure.detail,
            "active_version": "v1",
            "active_digest": before.policy_digest,
        }
        after = await decide(at.policy, a_request(path="/another"))
        assert (after.policy_version, after.policy_digest) == ("v1", before.policy_digest)


async def test_a_failure_is_noted_once_and_again_when_the_version_is_activated_again(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        FAULTS["truncated"].make(tmp_path)
        activate(at.directory, VERSION)
        await until(at.failed)
        for _ in range(3):
            await at.notes.look()
        assert len(at.events()) == at.notes.noted == 1
        # A follower that starts anew finds the same failure, and knows that it was said.
        engine = OpaEngine(at.process.socket, "none", connections=1)
        again = ActivationNotes(engine, Versions(DirectoryStore(at.directory)).active, at.outbox)
        await again.look()
        await engine.close()
        assert again.failure == at.notes.failure
        assert len(at.events()) == 1

        activate(at.directory, VERSION)
        await at.notes.look()
        assert len(at.events()) == 2


async def test_going_back_to_the_version_before_ends_the_failure(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        FAULTS["truncated"].make(tmp_path)
        activate(at.directory, VERSION)
        await until(at.failed)
        activate(at.directory, "v1")
        await at.notes.look()
        assert (at.notes.failure, at.notes.awaited_s) == (None, 0.0)

        async def over() -> bool:
            await at.watch.look()
            return at.watch.failure is None and at.watch.failed_s == 0.0

        await until(over)
        assert len(at.events()) == 1


async def test_a_bundle_server_that_is_away_is_no_failed_version(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        await at.server.aclose()

        async def named() -> bool:
            await at.watch.look()
            return at.watch.failure is not None

        await until(named)
        await at.notes.look()
        assert at.watch.failure is not None
        assert at.watch.failure.code == "not_downloaded"
        assert at.events() == []
        assert at.notes.awaited_s == 0.0


async def test_an_engine_that_goes_away_changes_what_is_known_of_nothing(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        FAULTS["truncated"].make(tmp_path)
        activate(at.directory, VERSION)
        await until(at.failed)
        known = at.watch.failure
        await at.process.stop()
        await at.watch.look()
        await at.notes.look()
        assert at.watch.failure == at.notes.failure == known
        assert at.notes.awaited_s == 0.0


async def test_a_follower_that_reaches_no_engine_awaits_nothing(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        engine = OpaEngine(tmp_path / "nowhere.sock", "none", connections=1)
        notes = ActivationNotes(engine, at.notes._last, at.outbox)
        await notes.look()
        await engine.close()
        assert (notes.awaited_s, notes.failure, at.events()) == (0.0, None, [])
