"""The policy stage: a question for a request, and a verdict for the question.

In: Request, Subject, time. Out: Facts, then a Verdict that names the revision which really produced it; or
Denied. Called by `pipeline.py` for every request, started and stopped by `app.py`. It must never give a
verdict of one revision for a question of another, never keep an error, and never allow without a revision
outside of development.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from msgspec.structs import replace

from authz.config import Settings
from authz.errors import Denied
from authz.policy.active import Active, foreign, read_active
from authz.policy.cache import Flights, VerdictCache
from authz.policy.compat.plan import PluginPlan
from authz.policy.compat.result import read_result
from authz.policy.engine import BUNDLES, Answer, Engine
from authz.policy.engine_opa import OpaEngine
from authz.policy.facts import Plan
from authz.policy.manifest import split_revision
from authz.policy.naming import NamedEngine, Standing
from authz.policy.verdict import read_verdict
from authz.values import MISSING, Decision, Facts, Reason, Request, ShadowScope, Subject, Verdict

log = structlog.get_logger(__name__)

POLL_TIMEOUT_S: Final = 0.5
Activated = Callable[[str, str, ShadowScope], None]  # told of a version before it decides


class PolicyStage:
    """Asks one entry point; knows the active version; keeps verdicts."""

    def __init__(
        self,
        engine: Engine,
        *,
        cache: VerdictCache,
        timeout_s: float,
        poll_s: float,
        max_age_s: float = 0.0,
        development_unsigned: bool = False,
        compat: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
        activated: Activated | None = None,
    ) -> None:
        self.cache = cache
        self.flights = Flights()
        self.engine_errors: dict[Reason, int] = dict.fromkeys(
            (Reason.POLICY_ERROR, Reason.POLICY_CHANGING, Reason.ENGINE_UNAVAILABLE, Reason.ENGINE_TIMEOUT), 0
        )
        self.engine = engine
        self._timeout_s = timeout_s
        self._poll_s = poll_s
        self._max_age_s = max_age_s
        self._unsigned = development_unsigned
        self._plan: type[Plan | PluginPlan] = PluginPlan if compat else Plan
        self._read_result = partial(read_result, rule=engine.entry_point) if compat else read_verdict
        self._monotonic, self._activated = monotonic, activated
        self._active: Active | None = None
        self._bundles: object = None  # what OPA said when that was read
        self._scope = cache.scope
        self._activated_at = self._read_at = monotonic()
        self._reachable = False
        self._reading = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    # What the worker shows of it.

    @property
    def revision(self) -> str:
        """Of the active version, "" for none or a foreign one."""
        return self._active.revision if self._active else ""

    @property
    def version(self) -> str:
        return self._halves()[0]

    @property
    def digest(self) -> str:
        return self._halves()[1]

    @property
    def identities(self) -> dict[str, str]:
        """Agents' names by their other identities, as the active version has them."""
        manifest = self._active.manifest if self._active else None
        return manifest.analysis.identities if manifest else {}

    @property
    def age_s(self) -> float:
        """Seconds since this worker first saw the active version."""
        return self._monotonic() - self._activated_at

    @property
    def staleness_s(self) -> float:
        """Seconds since OPA last said what is active."""
        return self._monotonic() - self._read_at

    @property
    def ready(self) -> bool:
        """Whether OPA was there at the last look and has policy that may decide, and is being followed."""
        followed = self._task is None or not self._task.done()
        decides = self._active is not None and (bool(self.revision) or self._unsigned)
        return self._reachable and followed and decides

    # What the pipeline asks.

    def question(self, request: Request, subject: Subject, now: datetime) -> Facts:
        """The facts of this request for the active version. Raises Denied if there is no usable version."""
        active = self._active
        if active is None:
            raise self._counted(Denied(Reason.ENGINE_UNAVAILABLE, "no policy version is active"))
        if active.manifest is None and not self._unsigned:
            raise self._counted(Denied(Reason.POLICY_ERROR, "the active policy is not one signed version"))
        if self._max_age_s and self.staleness_s > self._max_age_s:
            raise Denied(Reason.POLICY_STALE, "the active policy version was not read for too long")
        return active.plan.facts(request, subject, now)

    def lookup(self, facts: Facts) -> Verdict | None:
        """The verdict kept for exactly this question under the active version."""
        if not facts.cacheable or facts.revision != self._scope[2]:
            return None
        return self.cache.get(self._scope, facts.question, self._monotonic())

    async def evaluate(self, facts: Facts, again: Callable[[], Facts], timeout_s: float) -> Verdict:
        """Ask the engine, and wait for at most `timeout_s`. If another revision answers than the facts were
        built for, the question is built anew by `again` and asked once more. Raises Denied.
        """
        deadline = self._monotonic() + timeout_s
        verdict = await self._flight(facts, timeout_s)
        if verdict is not None:
            return verdict
        await self._reload(facts.revision, deadline - self._monotonic())
        verdict = await self._flight(again(), deadline - self._monotonic())
        if verdict is not None:
            return verdict
        raise self._counted(Denied(Reason.POLICY_CHANGING, "the policy version changed twice meanwhile"))

    async def start(self) -> None:
        """Read the active version if the engine can say it, and keep following it."""
        await self.engine.start()
        await self._look()
        self._task = asyncio.create_task(self.run(), name="policy version")
        self._task.add_done_callback(self._unfollowed)

    async def stop(self) -> None:
        """End following, and drop every connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self.flights.stop()
        await self.engine.close()

    async def run(self) -> None:
        """Follow OPA's active version until cancelled."""
        while True:
            await asyncio.sleep(self._poll_s)
            await self._look()

    # How it is done.

    def _halves(self) -> tuple[str, str]:
        return split_revision(self.revision) or ("none", "none")

    def _counted(self, denied: Denied) -> Denied:
        self.engine_errors[denied.reason] = self.engine_errors.get(denied.reason, 0) + 1
        return denied

    async def _flight(self, facts: Facts, timeout_s: float) -> Verdict | None:
        """The verdict, or None when another revision answered. Equal cacheable questions fly once: for the
        stage's own time, whoever began it, while each caller waits only for as long as it has.
        """
        if timeout_s <= 0:
            raise self._counted(Denied(Reason.ENGINE_TIMEOUT, "no time left to ask"))
        try:
            if not facts.cacheable:
                return await self._ask(facts, timeout_s)
            key = (facts.revision, facts.question)
            under_way = self.flights.join(key)
            flight = under_way or self.flights.start(key, self._ask(facts, self._timeout_s))
            await asyncio.wait((flight,), timeout=timeout_s)
            if not flight.done():
                raise Denied(Reason.ENGINE_TIMEOUT, "OPA gave no answer in time")
            if flight.cancelled():
                raise Denied(Reason.ENGINE_UNAVAILABLE, "stopping")
            verdict = flight.result()
        except Denied as denied:
            raise self._counted(Denied(denied.reason, denied.detail)) from None
        return replace(verdict, cache="shared") if verdict is not None and under_way else verdict

    async def _ask(self, facts: Facts, timeout_s: float) -> Verdict | None:
        scope = self._scope
        started = self._monotonic()
        answer = await self.engine.decide(facts.question, timeout_s)
        if facts.revision and not answer.revisions:
            raise Denied(Reason.ENGINE_UNAVAILABLE, "OPA has no policy version")
        if facts.revision and _revision(answer) != facts.revision:
            return None
        if answer.result is MISSING:
            raise Denied(Reason.POLICY_ERROR, "the entry point is undefined for this input")
        verdict = self._named(self._read_result(answer.result), facts, self._monotonic() - started)
        if facts.cacheable and scope[2] == facts.revision:
            self.cache.put(
                scope, facts.question, replace(verdict, cache="hit", evaluation_us=0), self._monotonic()
            )
        return verdict

    def _named(self, verdict: Verdict, facts: Facts, took_s: float) -> Verdict:
        halves = split_revision(facts.revision)
        if halves is None and verdict.decision is Decision.ALLOW and not self._unsigned:
            raise Denied(Reason.POLICY_ERROR, "an allow without a policy version")
        version, digest = halves or ("none", "none")
        return replace(
            verdict,
            policy_version=version,
            policy_digest=digest,
            engine=self.engine.name,
            cache="miss" if facts.cacheable else "bypass",
            evaluation_us=int(took_s * 1e6),
        )

    async def _reload(self, stale: str, timeout_s: float) -> None:
        """Read what is active now, unless somebody did since revision `stale` was."""
        if timeout_s <= 0:
            raise self._counted(Denied(Reason.ENGINE_TIMEOUT, "no time left to read the policy version"))
        try:
            async with asyncio.timeout(timeout_s), self._reading:
                if self.revision == stale:
                    self._take(await self.engine.get(BUNDLES, timeout_s))
        except TimeoutError:
            raise self._counted(
                Denied(Reason.ENGINE_TIMEOUT, "the policy version was not read in time")
            ) from None
        except Denied as denied:
            raise self._counted(denied) from None

    async def _look(self) -> None:
        """One look at what is active; an OPA that is away changes nothing but readiness."""
        try:
            async with self._reading:  # an earlier answer may not come after a later one
                self._take(await self.engine.get(BUNDLES, POLL_TIMEOUT_S))
        except Denied as denied:
            if self._reachable:
                log.warning("policy_engine_away", reason=str(denied.reason), detail=denied.detail)
            self._reachable = False

    def _unfollowed(self, task: asyncio.Task[None]) -> None:
        """Following ended. Unless that was wanted it is a fault of ours: loud, and not ready from now on."""
        if not task.cancelled():
            log.error("policy_version_unfollowed", error=type(task.exception()).__name__)

    def _take(self, bundles: object) -> None:
        """Make what OPA says active; without any bundle the old version's kept verdicts live on."""
        if self._active is not None and bundles == self._bundles:
            active: Active | None = self._active  # a plan takes a millisecond of the loop to read
        else:
            active = read_active(bundles, self.engine.entry_point, self._plan)
        if active is None and self._unsigned:
            active = foreign(self._plan)
        self._reachable = active is not None
        if active is None:
            return
        self._bundles, self._read_at = bundles, self._monotonic()
        if self._active is not None and active.revision == self._active.revision:
            return
        self._active, self._activated_at = active, self._read_at
        self._scope = (self.engine.entry_point, self.engine.name, active.revision)
        self.cache.serve(self._scope)
        if self._activated:
            shadow = active.manifest.analysis.shadow if active.manifest else ShadowScope()
            self._activated(self.version, self.digest, shadow)
        log.info("policy_active", version=self.version, digest=self.digest)


def _revision(answer: Answer) -> str:
    """The revision of the one version that answered; "" when it is none of ours, or several."""
    if len(answer.revisions) != 1:
        return ""
    (revision,) = answer.revisions.values()
    return revision if split_revision(revision) else ""


def _open_engine(settings: Settings) -> Engine:
    policy = settings.policy
    if policy.engine == "wasm":
        from authz.policy.engine_wasm import WasmEngine  # here, so that others need not load wasmtime

        return WasmEngine(settings)
    return OpaEngine(
        settings.path(policy.opa_socket),
        policy.entry_point,
        connections=policy.connections,
        strict=not policy.compat,
    )


def open_stage(
    settings: Settings,
    monotonic: Callable[[], float] = time.monotonic,
    activated: Activated | None = None,
    standing: Callable[[str], Standing] | None = None,
) -> PolicyStage:
    """The stage as the settings want it; not started. `standing` says which version may decide."""
    policy, engine = settings.policy, _open_engine(settings)
    return PolicyStage(
        NamedEngine(engine, standing) if standing else engine,
        cache=VerdictCache(policy.cache_size, policy.cache_ttl_s),
        timeout_s=policy.timeout_ms / 1000,
        poll_s=policy.poll_ms / 1000,
        max_age_s=policy.max_age_s,
        development_unsigned=policy.development_unsigned,
        compat=bool(policy.compat),
        monotonic=monotonic,
        activated=activated,
    )
