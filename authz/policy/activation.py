"""Why the engine does not take the bundle that it is offered, in words of ours.

In: what OPA's status API says (https://www.openpolicyagent.org/docs/management-status). Out: a Failure with a
code of a fixed list, or None. Asked by the worker for its readiness and by the follower for the control log:
over OPA's own socket, since a report that OPA sends could be sent by anybody. The version before stays in
force meanwhile; OPA tries again every second, and a failure ends with the next bundle that is well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from msgspec import Struct

from authz.config import Settings
from authz.errors import Denied
from authz.policy.engine import STATUS, Engine
from authz.policy.engine_opa import OpaEngine

log = structlog.get_logger(__name__)

# Makes OPA answer at STATUS; it sends nothing anywhere.
REPORTING: Final = {"prometheus": True}
ASK_TIMEOUT_S: Final = 2.0
MAX_DETAIL: Final = 500  # characters of OPA's own words
NOT_DOWNLOADED: Final = "not_downloaded"

# The first that is part of OPA's message names it.
_CODES: Final = (
    ("missing .signatures.json", "unsigned"),
    ("size_limit_bytes", "too_large"),
    ("bundle read failed", "unreadable"),
    ("digest mismatch", "bad_signature"),
    ("signature", "bad_signature"),
    ("verification key", "bad_signature"),
    ("roots", "bad_roots"),
    ("request failed", NOT_DOWNLOADED),
)


class Failure(Struct, frozen=True):
    """`code`: unsigned, bad_signature, unreadable, too_large, bad_roots, not_downloaded, not_activated, or
    the code of the first error that OPA's compiler found (`rego_recursion_error`). `detail`: OPA's words.
    """

    code: str
    detail: str


def read_failure(status: Any) -> Failure | None:
    """From the JSON of `GET /v1/status`; None when the last bundle is active, or for another form."""
    try:
        bundles = status["result"]["bundles"]
        failed = next((each for each in bundles.values() if each.get("code")), None)
    except (TypeError, KeyError, AttributeError):
        return None
    return _failure(failed) if failed else None


def _failure(bundle: Mapping[str, Any]) -> Failure:
    message, errors = str(bundle.get("message", "")), bundle.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        first = errors[0]
        place = first.get("location") or {}
        message = f"{place.get('file', '?')}:{place.get('row', 0)}: {first.get('message', '')}"
        code = str(first.get("code", "not_activated"))
    elif bundle.get("http_code"):
        code = NOT_DOWNLOADED
    else:
        code = next((code for part, code in _CODES if part in message), "not_activated")
    printable = "".join(char if char.isprintable() else " " for char in message)
    return Failure(code[:64], printable[:MAX_DETAIL] or "OPA gives no reason")


class ActivationWatch:
    """Asks `engine` every `every_s` seconds; what it said last is `failure`."""

    def __init__(
        self, engine: Engine, every_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.failure: Failure | None = None
        self._engine, self._every_s, self._monotonic = engine, every_s, monotonic
        self._since = 0.0  # when the failure was first seen
        self._task: asyncio.Task[None] | None = None

    @property
    def failed_s(self) -> float:
        """Seconds since what is offered was first seen to fail; 0 when it does not."""
        return self._monotonic() - self._since if self.failure else 0.0

    @property
    def code(self) -> str:
        """Of the failure, "" without one."""
        return self.failure.code if self.failure else ""

    @property
    def said(self) -> str:
        """The failure as a reason for /readyz."""
        return f"policy: OPA has not taken a new version for {self.failed_s:.0f} s: {self.code}"

    def start(self) -> None:
        """Ask now, and from now on."""
        self._task = asyncio.create_task(self._run(), name="policy activation")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self._engine.close()

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._every_s)

    async def look(self) -> None:
        """Ask once. An OPA that does not answer changes nothing: that it is away is seen elsewhere."""
        try:
            status = await self._engine.get(STATUS, ASK_TIMEOUT_S)
        except Denied:
            return
        failure = read_failure(status)
        if failure != self.failure:
            if self.failure is None:
                self._since = self._monotonic()
            self.failure = failure
            said = {"code": failure.code, "detail": failure.detail} if failure else {}
            log.warning("policy_not_activated" if failure else "policy_activation_works_again", **said)


def open_watch(settings: Settings, engine: Engine) -> ActivationWatch:
    """Of the engine that decides; of an OPA with a connection of its own. Not running."""
    if engine.name == "opa":
        engine = OpaEngine(settings.path(settings.policy.opa_socket), "none", connections=1)
    return ActivationWatch(engine, settings.policy.status_s)
