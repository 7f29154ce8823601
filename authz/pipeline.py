"""The story of one decision, in the order of `values.py`; the one place where errors become denials.

In: a Request or a Malformed from `wire/`. Out: a Receipt, or EvidenceUnavailable when no record could be
made. Called by the worker's service for every request. It must never return without a written record, and
knows neither gRPC, nor OPA, nor files: those are injected (`app.py`).
"""

from __future__ import annotations

import time
from asyncio import Future
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Protocol

import structlog

from authz.controls.rule import rule
from authz.errors import Denied
from authz.record import decision_members
from authz.values import UNKNOWN, Decision, Facts, Malformed, Reason, Receipt, Request, Subject, Verdict

log = structlog.get_logger(__name__)


class Policy(Protocol):
    def question(self, request: Request, subject: Subject, now: datetime) -> Facts: ...
    def lookup(self, facts: Facts) -> Verdict | None: ...
    def evaluate(self, facts: Facts, again: Callable[[], Facts], timeout_s: float) -> Awaitable[Verdict]: ...


class Written(Protocol):
    @property
    def log(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def entry_hash(self) -> str: ...


class Ledger(Protocol):
    def append(self, kind: str, members: dict[str, Any], *, synced: bool) -> Future[Any]: ...


class Observer(Protocol):
    """Watches finished decisions; may never change one."""

    def decided(self, decision: Decided) -> None: ...


class Decided:
    """One finished decision with the times (perf_counter, seconds) at which its stages ended."""

    __slots__ = ("identified", "judged", "record", "request", "started", "verdict", "written", "wrote")

    def __init__(self) -> None:
        self.started = self.identified = self.judged = self.written = time.perf_counter()
        self.request: Request | Malformed
        self.verdict: Verdict
        self.record: dict[str, Any]
        self.wrote: Written


class Authorizer:
    """Decides one request after another; holds no state of its own."""

    def __init__(
        self,
        *,
        identify: Callable[[Request], Subject],
        policy: Policy,
        ledger: Ledger,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        timeout_s: float,
        reply_after: str,
        observer: Observer,
    ) -> None:
        self._identify = identify
        self._policy = policy
        self._ledger = ledger
        self._now = now
        self._new_id = new_id
        self._timeout_s = timeout_s
        self._reply_after = reply_after
        self._observer = observer

    async def decide(self, request: Request | Malformed) -> Receipt:
        """Decide and record; the Receipt says what was ruled and where its record is.

        Raises EvidenceUnavailable when the record could not be written as its durability demands.
        """
        story = Decided()
        story.request = request
        subject, verdict = await self._judge(request, story)
        ruling = rule(request, verdict)
        decision_id = self._new_id()
        story.verdict = verdict
        story.record = decision_members(decision_id, request, subject, ruling, self._reply_after)
        story.judged = time.perf_counter()
        wrote = await self._ledger.append("decision", story.record, synced=ruling.synced)
        story.written, story.wrote = time.perf_counter(), wrote
        self._observer.decided(story)
        return Receipt(wrote.log, wrote.seq, wrote.entry_hash, decision_id, ruling)

    async def _judge(self, request: Request | Malformed, story: Decided) -> tuple[Subject, Verdict]:
        subject = UNKNOWN
        try:
            if isinstance(request, Malformed):
                raise Denied(request.reason, request.detail)
            subject = self._identify(request)
            story.identified = time.perf_counter()
            return subject, await self._ask(request, subject)
        except Denied as denied:
            return subject, _denial(denied.reason, denied.detail)
        except Exception as error:  # a fault of ours is a recorded denial too, and a loud one
            log.exception("decision_failed", error=type(error).__name__)
            return subject, _denial(Reason.INTERNAL_ERROR, type(error).__name__)

    async def _ask(self, request: Request, subject: Subject) -> Verdict:
        now = self._now()
        facts = self._policy.question(request, subject, now)
        verdict = self._policy.lookup(facts)
        if verdict is None:
            verdict = await self._policy.evaluate(
                facts, lambda: self._policy.question(request, subject, now), self._timeout_s
            )
        return verdict


def _denial(reason: Reason, detail: str) -> Verdict:
    """What stands where policy was not asked or gave no usable answer: no policy version decided this."""
    return Verdict(Decision.DENY, reason, rule="authorizer", rationale=(detail[:256],) if detail else ())
