"""Says what is in shadow: in the log, in the metrics, and once for all workers in the control log.

In: a Shadow as it changes. Out: a line at the start and at each change, gauges, and an event in the outbox
when something else is in shadow than the last event of the deployment says. Called by the worker a few times
a second. A change counts at once, also while it cannot be put into the outbox: each decision that it turns is
recorded as such.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import structlog

from authz import canonical
from authz.controls.shadow import NOTHING, Shadow
from authz.errors import EvidenceUnavailable
from authz.ledger.outbox import Outbox
from authz.telemetry.metrics import Gauge
from authz.values import ShadowScope

log = structlog.get_logger(__name__)

KIND: Final = "shadow"
RETRY_S: Final = 5.0


class ShadowNotes:
    """`worker` tells of `shadow`; `version` gives the policy version that is active."""

    def __init__(
        self,
        shadow: Shadow,
        outbox: Path,
        worker: str,
        version: Callable[[], str],
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shadow, self._outbox, self._worker, self._version = shadow, outbox, worker, version
        self._wall, self._monotonic = wall, monotonic
        self._logged: ShadowScope = NOTHING
        self._put: ShadowScope | None = None  # what the outbox was last told
        self._since = 0.0  # seconds since 1970: what is in shadow has been since then
        self._retry_at = 0.0
        self._fault = ""  # why it could not be put, as the log says already

    async def refresh(self) -> None:
        """Say it, if there is something new to say."""
        scope = self._shadow.scope
        if scope != self._logged:
            self._say(scope)
        if scope == self._put or self._monotonic() < self._retry_at:
            return
        try:
            since = await asyncio.to_thread(self._tell, scope)
        except (EvidenceUnavailable, ValueError) as error:  # decisions go on: each says itself what turned it
            self._unsaid(str(error))
        else:
            self._put, self._fault = scope, ""
            self._since = datetime.fromisoformat(since).timestamp() if since else self._since

    def _unsaid(self, why: str) -> None:
        self._retry_at = self._monotonic() + RETRY_S
        if why != self._fault:
            log.error("shadow_not_in_control_log", why=why)
        self._fault = why

    def _say(self, scope: ShadowScope) -> None:
        self._logged, self._since = scope, self._wall()
        if scope == NOTHING:
            log.info("shadow_off")
        else:
            log.warning("shadow_on", all=scope.all, agents=scope.agents, rules=scope.rules)

    def _tell(self, scope: ShadowScope) -> str:
        """Since when it is so, "" where nothing ever was in shadow."""
        if scope == NOTHING and not self._outbox.exists():
            return ""
        said: dict[str, Any] = {"worker": self._worker, "policy_version": self._version()}
        said |= {"action": "off"} if scope == NOTHING else _on(scope)
        value = "" if scope == NOTHING else canonical.encode(_on(scope)).decode()
        with Outbox(self._outbox) as outbox:
            return outbox.put_change(KIND, said, of=KIND, value=value)

    def gauges(self, alarm_after_h: float) -> Iterator[Gauge]:
        """For a scrape, from its own thread."""
        scope = self._shadow.scope
        on_s = max(0.0, self._wall() - self._since) if scope.all else 0.0
        text = "1 while every denial of policy is in shadow."
        yield "aegis_shadow_all", text, float(scope.all), {}
        yield "aegis_shadow_agents", "Agents whose denials are in shadow.", len(scope.agents), {}
        yield "aegis_shadow_rules", "Rules whose denials are in shadow.", len(scope.rules), {}
        yield "aegis_shadow_all_seconds", "How long everything has been in shadow.", on_s, {}
        text = "After how long that raises an alert."
        yield "aegis_shadow_alarm_seconds", text, alarm_after_h * 3600, {}
        text = "1 while a change is not in the outbox of the control log."
        yield "aegis_shadow_unsaid", text, float(scope != self._put), {}


def _on(scope: ShadowScope) -> dict[str, Any]:
    """The members that say what is in shadow; both of them where neither is everything."""
    said: dict[str, Any] = {"action": "on", "scope": "all" if scope.all else "some"}
    named = {"agents": list(scope.agents), "rules": list(scope.rules)}
    return said | {member: names for member, names in named.items() if names}
