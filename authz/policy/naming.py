"""An engine whose version is checked against the one that the deployment says was activated.

In: a function that knows how a revision stands (it may read files). Out: an Engine, whose word about what is
active is a denial, `policy_stale`, while that version may not decide: no answer of it counts then, and what
is cached of the version before lives on. Opened by `stage.py` where `policy.named_s` is set. The function
runs in a thread, once for each change, and again every few seconds while it refuses or is not settled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import structlog

from authz.errors import Denied
from authz.policy.engine import BUNDLES, Engine
from authz.values import Reason

log = structlog.get_logger(__name__)

AGAIN_S: Final = 2.0


class Standing(Protocol):
    """`refusal`: why the version may not decide, "" if it may. `settled`: time changes nothing of it."""

    @property
    def refusal(self) -> str: ...
    @property
    def settled(self) -> bool: ...


class NamedEngine:
    """The `engine`, with what is active refused while `standing` says that it may not decide."""

    def __init__(
        self,
        engine: Engine,
        standing: Callable[[str], Standing],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.entry_point = engine.name, engine.entry_point
        self.decide = engine.decide  # itself: a decision goes no further for this
        self._engine, self._standing, self._monotonic = engine, standing, monotonic
        self._revision = self._refusal = ""
        self._due = 0.0

    async def start(self) -> None:
        await self._engine.start()

    async def get(self, path: str, timeout_s: float) -> Any:
        """Raises Denied, too, while the active version may not decide."""
        answer = await self._engine.get(path, timeout_s)
        if path == BUNDLES:
            await self._check(answer)
        return answer

    async def close(self) -> None:
        await self._engine.close()

    async def _check(self, loaded: Any) -> None:
        revision = revision_of(loaded)
        if revision and (revision != self._revision or self._monotonic() >= self._due):
            standing = await asyncio.to_thread(self._standing, revision)
            if standing.refusal and standing.refusal != self._refusal:
                log.error("policy_version_refused", revision=revision, why=standing.refusal)
            settled = standing.settled and not standing.refusal
            self._revision, self._refusal = revision, standing.refusal
            self._due = float("inf") if settled else self._monotonic() + AGAIN_S
        if revision and self._refusal:
            raise Denied(
                Reason.POLICY_STALE, f"{self.name} has {revision.partition('+')[0]}: {self._refusal}"
            )


def revision_of(loaded: Any) -> str:
    """Of the one bundle that OPA has, by the JSON at BUNDLES; "" for none or several."""
    try:
        (bundle,) = loaded["result"].values()
        return str(bundle["manifest"]["revision"])
    except (TypeError, KeyError, ValueError, AttributeError):
        return ""
