"""Our answers to the same cases: all but the socket and the ledger's files is what a worker is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from authz import canonical
from authz.config_compat import Plugin
from authz.config_listen import Limits
from authz.controls.shadow import Shadow
from authz.pipeline import Authorizer, Decided
from authz.policy.cache import VerdictCache
from authz.policy.engine_opa import OpaEngine
from authz.policy.stage import PolicyStage
from authz.values import UNKNOWN, ShadowScope
from authz.wire.plugin.reading import PluginReader
from authz.wire.plugin.replies import PluginReplies
from tests.compat.cases import REGO, Group, descriptor_set
from tests.compat.plugin import shown
from tests.policy.bundles import build_bundle
from tests.policy.opa import opa_with, signing_key, write

ID = "019b7690-0001-7000-8000-00000000abcd"
TRACE = "0af7651916cd43dd8448eb211c80319c"
# The plugin has none of its own but its message size, which is 4 MiB.
LIMITS = Limits(body_bytes=4 << 20, header_count=1000, header_bytes=1 << 20, path_bytes=1 << 20)


class Book:
    """A ledger that only checks what it is given: a decision must fit an entry."""

    log, seq, entry_hash = "d/w/e", 7, "ab" * 32

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def append(
        self, kind: str, members: dict[str, Any], *, synced: bool, disclosures: tuple[str, ...] = ()
    ) -> Any:
        canonical.encode(members)
        self.entries.append(members)
        done = asyncio.get_running_loop().create_future()
        done.set_result(self)
        return done


class Watcher:
    def decided(self, decision: Decided) -> None: ...
    def unheard(self, decision: Decided) -> None: ...


class Ours:
    def __init__(self, stage: PolicyStage, options: Plugin, directory: Path, shadow: Shadow) -> None:
        self.stage = stage
        self.book = Book()
        self._reader = PluginReader(options, directory)
        self._replies = PluginReplies(full=False, credentials=())
        self._authorizer = Authorizer(
            identify=lambda request: UNKNOWN,
            policy=stage,
            ledger=self.book,
            now=lambda: datetime.now(UTC),
            new_id=lambda: ID,
            timeout_s=10.0,
            reply_after="bounded",
            observer=Watcher(),
            shadow=shadow,
        )

    async def ask(self, message: bytes) -> dict[str, Any]:
        request = self._reader.read(message, LIMITS, "", lambda: TRACE)
        receipt = await self._authorizer.decide(request)
        return shown(self._replies.reply(receipt, request))

    @property
    def record(self) -> dict[str, Any]:
        return self.book.entries[-1]


def _files(policy: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in (policy.iterdir() if policy.is_dir() else [policy])}


@asynccontextmanager
async def answering(group: Group, directory: Path) -> AsyncIterator[Ours]:
    """A worker's parts with the group's policy, as a signed version, and its options."""
    (directory / "descriptors.pb").write_bytes(descriptor_set())
    options = Plugin(
        skip_request_body_parse=group.options.get("skip-request-body-parse", False),
        proto_descriptor=group.options.get("proto-descriptor"),
    )
    shadow = Shadow(ShadowScope(all=group.options.get("dry-run", False)))
    version = build_bundle(
        write(directory / "source", _files(REGO / group.policy)),
        directory / "bundles",
        version="v1.0.0",
        signing_key=signing_key(),
        entry_points=[f"/{group.path}"],
    )
    async with opa_with(version) as process:
        engine = OpaEngine(process.socket, group.path, connections=4, strict=False)
        stage = PolicyStage(
            engine,
            cache=VerdictCache(10_000, 30.0),
            timeout_s=10.0,
            poll_s=0.1,
            compat=True,
            activated=shadow.activated,
        )
        await stage.start()
        try:
            yield Ours(stage, options, directory, shadow)
        finally:
            await stage.stop()
