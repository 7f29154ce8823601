"""The story of one decision, in the order of `values.py`; the one place where errors become denials.

In: a Request or a Malformed from `wire/`. Out: a Receipt, or EvidenceUnavailable when no record could be
made. Called by the worker's service for every request. It must never return without a written record, and
knows neither gRPC, nor OPA, nor files: those are injected (`app.py`).
"""

from __future__ import annotations

import asyncio
import math
import time
from asyncio import Future
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

import structlog

from authz.controls.redaction import PLAIN, Redaction
from authz.controls.rule import rule
from authz.controls.shadow import Shadow
from authz.errors import Denied, EvidenceUnavailable
from authz.record import decision_members
from authz.values import (
    UNKNOWN,
    Decision,
    Facts,
    Malformed,
    Reason,
    Receipt,
    Request,
    Ruling,
    Subject,
    Verdict,
)

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
    def append(
        self, kind: str, members: dict[str, Any], *, synced: bool, disclosures: tuple[str, ...] = ()
    ) -> Future[Any]: ...


class Explains(Protocol):
    """Adds the digests of what explains a decision to its record; what it gives can be erased later."""

    def add(
        self,
        members: dict[str, Any],
        request: Request | Malformed,
        subject: Subject,
        ruling: Ruling,
        question: bytes,
    ) -> tuple[str, ...]: ...


class Observer(Protocol):
    """Watches recorded decisions; may never change one."""

    def decided(self, decision: Decided) -> None: ...

    def unheard(self, decision: Decided) -> None:
        """Its caller left before there was an answer."""


class Decided:
    """One decision as it is made, with the times (perf_counter, seconds) at which its stages ended."""

    __slots__ = (
        "identified",
        "judged",
        "question",
        "record",
        "request",
        "ruling",
        "started",
        "subject",
        "written",
        "wrote",
    )

    def __init__(self, request: Request | Malformed) -> None:
        self.started = self.identified = self.judged = self.written = time.perf_counter()
        self.request = request
        self.subject = UNKNOWN
        self.question = b""  # the facts that policy was asked
        self.ruling: Ruling
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
        source_tag: Callable[[str], str] = lambda address: "",
        redaction: Redaction = PLAIN,
        explanation: Explains | None = None,
        shadow: Shadow | None = None,
    ) -> None:
        self._identify = identify
        self._policy = policy
        self._ledger = ledger
        self._now = now
        self._new_id = new_id
        self._timeout_s = timeout_s
        self._reply_after = reply_after
        self._observer = observer
        self._source_tag, self._redaction, self._explanation = source_tag, redaction, explanation
        self._shadow = shadow or Shadow()

    async def decide(self, request: Request | Malformed, time_left_s: float = math.inf) -> Receipt:
        """Decide and record; the Receipt says what was ruled and where its record is.

        `time_left_s` is what remains until nobody waits for the answer. Raises EvidenceUnavailable when the
        record could not be written as its durability demands. A caller that leaves is recorded too.
        """
        story = Decided(request)
        try:
            verdict = await self._judge(story, min(self._timeout_s, time_left_s))
        except asyncio.CancelledError:
            with suppress(EvidenceUnavailable):  # nobody is left to be told
                self._record(story, _denial(Reason.CALLER_GONE, ""))
                self._tell(self._observer.unheard, story)
            raise
        story.judged = time.perf_counter()
        try:
            story.wrote = wrote = await self._record(story, verdict)
        except asyncio.CancelledError:
            self._tell(self._observer.unheard, story)
            raise
        story.written = time.perf_counter()
        self._tell(self._observer.decided, story)
        return Receipt(wrote.log, wrote.seq, wrote.entry_hash, story.record["decision_id"], story.ruling)

    @staticmethod
    def _tell(observed: Callable[[Decided], None], story: Decided) -> None:
        """Its record is down, so what is answered is what it says, whatever becomes of those who watch."""
        try:
            observed(story)
        except Exception as error:
            log.exception("observer_failed", error=type(error).__name__)

    async def _judge(self, story: Decided, timeout_s: float) -> Verdict:
        request = story.request
        try:
            if isinstance(request, Malformed):
                raise Denied(request.reason, request.detail)
            story.subject = self._identify(request)
            story.identified = time.perf_counter()
            return await self._ask(request, story, timeout_s)
        except Denied as denied:
            return _denial(denied.reason, denied.detail)
        except Exception as error:  # a fault of ours is a recorded denial too, and a loud one
            log.exception("decision_failed", error=type(error).__name__)
            return _denial(Reason.INTERNAL_ERROR, type(error).__name__)

    async def _ask(self, request: Request, story: Decided, timeout_s: float) -> Verdict:
        now, subject = self._now(), story.subject
        facts = self._policy.question(request, subject, now)
        story.question = facts.question
        verdict = self._policy.lookup(facts)
        if verdict is None:
            verdict = await self._policy.evaluate(
                facts, lambda: self._policy.question(request, subject, now), timeout_s
            )
        return verdict

    def _record(self, story: Decided, verdict: Verdict) -> Future[Any]:
        """Append the record of `verdict`; bytes leave in this turn of the loop, whoever waits or does not."""
        story.ruling = rule(story.request, verdict, story.subject, self._shadow)
        try:
            return self._append(story)
        except ValueError as error:  # what was read or said fits no entry: denied, with a record that does
            log.exception("record_impossible", error=type(error).__name__)
        story.request = _named(story.request)
        story.ruling = rule(story.request, _denial(Reason.INTERNAL_ERROR, "the record fits no entry"))
        try:
            return self._append(story)
        except ValueError:  # not even who asked for what
            story.request = Malformed(Reason.INTERNAL_ERROR, "", trace_id=story.request.trace_id)
            story.subject = UNKNOWN
            return self._append(story)

    def _append(self, story: Decided) -> Future[Any]:
        story.record = decision_members(
            self._new_id(),
            story.request,
            story.subject,
            story.ruling,
            self._reply_after,
            source=self._source_tag(story.request.source_address),
            redaction=self._redaction,
        )
        if self._explanation is not None:
            return self._append_explained(story, self._explanation)
        return self._ledger.append("decision", story.record, synced=story.ruling.synced)

    def _append_explained(self, story: Decided, explanation: Explains) -> Future[Any]:
        record, ruling = story.record, story.ruling
        kept = explanation.add(record, story.request, story.subject, ruling, story.question)
        return self._ledger.append("decision", record, synced=ruling.synced, disclosures=kept)


def _named(request: Request | Malformed) -> Malformed:
    """What says which request it was, without anything else that it carried."""
    return Malformed(
        Reason.INTERNAL_ERROR,
        "",
        request_id=request.request_id,
        method=request.method,
        scheme=request.scheme,
        host=request.host,
        port=request.port,
        source_address=request.source_address,
        trace_id=request.trace_id,
        parent_span_id=request.parent_span_id,
        sampled=request.sampled,
    )


def _denial(reason: Reason, detail: str) -> Verdict:
    """What stands where policy was not asked or gave no usable answer: no policy version decided this."""
    return Verdict(Decision.DENY, reason, rule="authorizer", rationale=(detail[:256],) if detail else ())
