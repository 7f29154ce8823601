"""Versions in a bucket reach a stock OPA as those in a directory do: by ETag, long polling and signature."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from authz.config import Settings
from authz.followers.bundles import RESOURCE, Served, bundle_app, copies_of, opa_config
from authz.followers.releases import Releases, teller
from authz.ledger.outbox import Outbox
from authz.policy.making import make, renamed
from authz.policy.opa_tool import OpaTool
from authz.policy.signing import public_key
from authz.policy.store_s3 import S3Store
from authz.policy.versions import Versions
from authz.replay.version import of_bundle
from tests import stores
from tests.policy.opa import DENY, OpaProcess, signing_key, until, write
from tests.s3 import S3Server
from tests.unit.policy.test_store import bucket

TOOL = OpaTool()


@asynccontextmanager
async def serving(served: Served) -> AsyncIterator[str]:
    stopping = False
    app = bundle_app(served, lambda: stopping)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        stopping = server.should_exit = True
        await task


@pytest.fixture
def releases(s3_of_checkpoints: S3Server, tmp_path: Path) -> Releases:
    """Of a publisher on another machine, with an outbox of its own."""
    versions = Versions(S3Store(bucket(s3_of_checkpoints), tmp_path))
    return Releases(versions, tmp_path / "elsewhere.sqlite", "ana", "ticket 1")


async def test_a_stock_opa_follows_what_is_published_activated_and_rolled_back_in_a_bucket(
    releases: Releases, s3_of_checkpoints: S3Server, tmp_path: Path
) -> None:
    made = make(
        write(tmp_path / "rego", {"aegis/p.rego": f"package aegis\n\n{DENY}"}), version="v1.0.0", tool=TOOL
    )
    outbox = tmp_path / "control.sqlite"
    follower = Versions(releases.versions.store)
    async with serving(Served(follower, teller(follower, outbox))) as url:
        opa = OpaProcess()
        try:
            await opa.start_with(opa_config(url, public_key(signing_key()), wait_s=5))
            for version in ("v1.0.0", "v1.1.0"):
                step = renamed(made, version)
                await asyncio.to_thread(
                    lambda step=step: releases.publish(step, signing_key=signing_key(), tool=TOOL)
                )
                await asyncio.to_thread(releases.activate, version)
                await until(lambda step=step: has(opa, step.revision))
            await asyncio.to_thread(releases.rollback)
            await until(lambda: has(opa, made.revision))
            async with httpx.AsyncClient(base_url=url) as client:
                answer = await client.get(RESOURCE, headers={"If-None-Match": f'"{made.revision}"'})
                assert (answer.status_code, answer.headers["etag"]) == (304, f'"{made.revision}"')
            # A bucket that cannot be read changes nothing, and says so.
            s3_of_checkpoints.stop()
            try:
                async with httpx.AsyncClient(base_url=url, timeout=60) as client:
                    await until(lambda: asked(client, made.revision), 30)
            finally:
                s3_of_checkpoints.start()
        finally:
            await opa.stop()
            shutil.rmtree(opa.directory, ignore_errors=True)
    with Outbox(outbox) as told:
        said = [(event.members["action"], event.members["policy_version"]) for event in told.waiting(99)]
    assert said == [
        ("publish", "v1.0.0"),
        ("activate", "v1.0.0"),
        ("publish", "v1.1.0"),
        ("activate", "v1.1.0"),
        ("rollback", "v1.0.0"),
    ]


async def has(opa: OpaProcess, revision: str) -> bool:
    return await opa.revision() == revision


async def asked(client: httpx.AsyncClient, revision: str) -> bool:
    """Whether the version is still served."""
    answer = await client.get(RESOURCE)
    return answer.headers["etag"] == f'"{revision}"'


async def test_a_bucket_that_is_away_from_the_start_is_503_until_it_is_there(
    releases: Releases, s3_of_checkpoints: S3Server, tmp_path: Path
) -> None:
    served = Served(releases.versions)
    async with serving(served) as url, httpx.AsyncClient(base_url=url, timeout=60) as client:
        s3_of_checkpoints.stop()
        try:
            assert (await client.get(RESOURCE)).status_code == 503
            assert served.fault.startswith(f"s3://{stores.BUCKET}/")
        finally:
            s3_of_checkpoints.start()

        async def empty() -> bool:
            return (await client.get(RESOURCE)).status_code == 404

        await until(empty, 30)
    assert served.fault == ""


def test_whoever_reads_files_gets_a_copy_of_each_published_bundle(
    releases: Releases, s3_of_checkpoints: S3Server, tmp_path: Path
) -> None:
    made = make(
        write(tmp_path / "rego", {"aegis/p.rego": f"package aegis\n\n{DENY}"}), version="v1.0.0", tool=TOOL
    )
    releases.publish(made, signing_key=signing_key(), tool=TOOL)
    told = bucket(s3_of_checkpoints, url=releases.versions.store.place()).model_dump()
    settings = Settings.model_validate({"state": tmp_path, "follower": {"bundle_s3": told}})
    for version in ("v1.1.0", "v1.2.0"):
        files = sorted(copies_of(settings).glob("*.tar.gz"))
        published = [entry.revision for entry in releases.versions.entries()]
        assert [of_bundle(file).label for file in files] == published
        assert files[-1].read_bytes() == releases.versions.bundle(published[-1])
        releases.publish(renamed(made, version), signing_key=signing_key(), tool=TOOL)
