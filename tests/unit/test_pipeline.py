"""The pipeline: no answer without a record, and every fault is a recorded denial."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from authz.config_evidence import Redaction as Rules
from authz.controls.redaction import Redaction
from authz.controls.shadow import Shadow
from authz.errors import Denied, EvidenceUnavailable
from authz.pipeline import Authorizer, Decided
from authz.testing import a_request
from authz.values import (
    Assurance,
    Decision,
    Facts,
    Malformed,
    Reason,
    Receipt,
    Request,
    ShadowScope,
    Subject,
    Verdict,
)

ALLOW = Verdict(Decision.ALLOW, "permitted", engine="opa", policy_version="v1", policy_digest="d")
FACTS = Facts(b"{}", "v1+d", True)


class Wrote:
    log, seq, entry_hash = "d/w/e", 7, "ab" * 32


class Book:
    """A ledger that remembers, and can be out of order."""

    def __init__(self, fault: Exception | None = None, *, waits: bool = False, refuses: str = "") -> None:
        self.entries: list[dict[str, Any]] = []
        self._fault, self._waits, self._refuses = fault, waits, refuses

    def append(self, kind: str, members: dict[str, Any], *, synced: bool) -> asyncio.Future[Any]:
        if self._fault:
            raise self._fault
        if members.get(self._refuses) == "a":
            raise ValueError(self._refuses)
        self.entries.append(members)
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if not self._waits:
            done.set_result(Wrote())
        return done


class Says:
    """A policy stage that answers with what it is given."""

    def __init__(self, answer: Verdict | Exception, cached: bool = False) -> None:
        self._answer, self._cached = answer, cached

    def question(self, request: Request, subject: Subject, now: datetime) -> Facts:
        return FACTS

    def lookup(self, facts: Facts) -> Verdict | None:
        return self._answer if self._cached and isinstance(self._answer, Verdict) else None

    async def evaluate(self, facts: Facts, again: Callable[[], Facts], timeout_s: float) -> Verdict:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class Watcher:
    def __init__(self) -> None:
        self.seen: list[Decided] = []
        self.left: list[str] = []

    def decided(self, decision: Decided) -> None:
        self.seen.append(decision)

    def unheard(self, decision: Decided) -> None:
        self.left.append(decision.record["reason_code"])


def subject(_: Request) -> Subject:
    return Subject("a", Assurance.JWT)


def authorizer(
    policy: Says,
    book: Book,
    identify: Callable[[Request], Subject] = subject,
    observer: Watcher | None = None,
    **more: Any,
) -> Authorizer:
    return Authorizer(
        identify=identify,
        policy=policy,
        ledger=book,
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        new_id=lambda: "019b7690-0001-7000-8000-00000000abcd",
        timeout_s=0.1,
        reply_after="bounded",
        observer=observer or Watcher(),
        **more,
    )


async def decide(policy: Says, **kw: Any) -> tuple[Receipt, dict[str, Any]]:
    book = Book()
    receipt = await authorizer(policy, book, **kw).decide(a_request())
    return receipt, book.entries[0]


@pytest.mark.parametrize("cached", [True, False])
async def test_an_allow_carries_the_place_of_its_record(cached: bool) -> None:
    receipt, entry = await decide(Says(ALLOW, cached))
    assert receipt.ruling.allowed
    assert (receipt.log, receipt.seq, receipt.decision_id) == ("d/w/e", 7, entry["decision_id"])
    assert (entry["decision"], entry["policy_version"], entry["agent_id"]) == ("allow", "v1", "a")


async def test_a_malformed_request_is_recorded_without_asking_anyone() -> None:
    book = Book()

    def never(_: Request) -> Subject:
        raise AssertionError

    malformed = Malformed(Reason.MALFORMED_BODY, "duplicate member", trace_id="1" * 32)
    receipt = await authorizer(Says(AssertionError()), book, never).decide(malformed)
    assert (receipt.ruling.http_status, book.entries[0]["reason_code"]) == (400, "malformed_body")
    assert book.entries[0]["rationale"] == ("duplicate member",)


@pytest.mark.parametrize("reason", [Reason.ENGINE_TIMEOUT, Reason.POLICY_ERROR, Reason.POLICY_CHANGING])
async def test_a_policy_that_cannot_answer_denies_by_name(reason: Reason) -> None:
    receipt, entry = await decide(Says(Denied(reason)))
    assert not receipt.ruling.allowed
    assert (entry["decision"], entry["reason_code"], entry["policy_version"]) == ("deny", reason, "none")
    assert entry["agent_id"] == "a"


async def test_an_unknown_subject_is_denied_and_recorded() -> None:
    def refuse(_: Request) -> Subject:
        raise Denied(Reason.IDENTITY_EXPIRED)

    receipt, entry = await decide(Says(ALLOW, cached=True), identify=refuse)
    assert (receipt.ruling.http_status, entry["agent_id"]) == (401, "unknown")


async def test_a_fault_of_ours_is_a_recorded_denial_that_names_no_value() -> None:
    receipt, entry = await decide(Says(KeyError("secret-value")))
    assert (receipt.ruling.http_status, entry["reason_code"]) == (503, "internal_error")
    assert "secret-value" not in repr(entry)


async def test_without_a_record_there_is_no_receipt() -> None:
    with pytest.raises(EvidenceUnavailable):
        await authorizer(Says(ALLOW), Book(EvidenceUnavailable("disk full"))).decide(a_request())


class Slow(Says):
    """A policy stage that never answers; `asked` is set once it was asked."""

    def __init__(self) -> None:
        super().__init__(AssertionError())
        self.asked = asyncio.Event()
        self.timeout_s = 0.0

    async def evaluate(self, facts: Facts, again: Callable[[], Facts], timeout_s: float) -> Verdict:
        self.timeout_s = timeout_s
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_caller_that_leaves_before_there_is_a_decision_is_recorded() -> None:
    book, policy = Book(), Slow()
    watcher = Watcher()
    task = asyncio.create_task(authorizer(policy, book, observer=watcher).decide(a_request(), 0.03))
    await policy.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(entry["decision"], entry["reason_code"], entry["agent_id"]) for entry in book.entries] == [
        ("deny", "caller_gone", "a")
    ]
    assert (watcher.seen, watcher.left) == ([], ["caller_gone"])
    assert policy.timeout_s == 0.03  # what the caller has left, since it is less than the engine's timeout


async def test_a_caller_that_leaves_while_the_record_is_written_does_not_take_it_back() -> None:
    book = Book(waits=True)
    watcher = Watcher()
    authorizing = authorizer(Says(ALLOW, cached=True), book, observer=watcher)
    task = asyncio.create_task(authorizing.decide(a_request()))
    while not book.entries:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [entry["decision"] for entry in book.entries] == ["allow"]
    assert (watcher.seen, watcher.left) == ([], ["permitted"])


class Breaks(Watcher):
    def decided(self, decision: Decided) -> None:
        raise RuntimeError("of an observer")


async def test_a_fault_of_who_watches_changes_no_answer() -> None:
    book = Book()
    with capture_logs() as logs:
        receipt = await authorizer(Says(ALLOW, cached=True), book, observer=Breaks()).decide(a_request())
    assert (receipt.ruling.allowed, book.entries[0]["decision"]) == (True, "allow")
    assert [(line["event"], line["error"]) for line in logs] == [("observer_failed", "RuntimeError")]


async def test_what_fits_no_entry_is_denied_with_a_record_that_does() -> None:
    book = Book(refuses="agent_id")
    receipt = await authorizer(Says(ALLOW, cached=True), book).decide(a_request())
    assert (receipt.ruling.allowed, receipt.ruling.http_status) == (False, 503)
    (entry,) = book.entries
    assert (entry["decision"], entry["reason_code"], entry["agent_id"]) == (
        "deny",
        "internal_error",
        "unknown",
    )
    assert entry["trace_id"] == a_request().trace_id


async def test_a_deployment_s_rules_of_redaction_reach_the_record() -> None:
    book = Book()
    rules = Rules(pointers=["/query/who"], patterns=["[0-9]{9}"])  # type: ignore[arg-type]
    decides = authorizer(Says(ALLOW, cached=True), book, redaction=Redaction(rules))
    await decides.decide(a_request(path="/of/123456789", query="who=a&id=123456789"))
    await decides.decide(a_request(path="/of/987654321", query="who=b&id=987654321"))
    one, two = book.entries
    assert one["endpoint"] == two["endpoint"] == "https://api.example/of/[redacted]"
    assert one["redacted"] == ["/query/who", "/query/id/0"]
    assert one["params_hash"] == two["params_hash"]


DENIED = Verdict(
    Decision.APPROVAL_NEEDED,
    "approval_required",
    "bulk-export",
    ("policy-violation",),
    ("matrix/export/internal",),
    {"risk": "7"},
    {"reply_after": "synced", "capture": "hash"},
    {"tool": "ehr.export"},
    policy_version="v1",
    policy_digest="d",
    engine="opa",
)


@pytest.mark.parametrize("cached", [True, False])
async def test_in_shadow_a_record_has_all_that_a_denial_has_and_says_what_policy_said(cached: bool) -> None:
    shadow = Shadow(ShadowScope(rules=("bulk-export",)))
    shadow.activated("v1", "d", ShadowScope())
    policy = Says(DENIED, cached)
    enforced, denied = await decide(policy)
    shadowed, would_block = await decide(policy, shadow=shadow)
    assert (enforced.ruling.allowed, shadowed.ruling.allowed) == (False, True)
    assert denied["mode"] == "enforce"
    changed = {"decision": "would_block", "mode": "shadow", "policy_decision": "approval_needed"}
    assert would_block == denied | changed | {"reply_after": "synced"}


async def test_in_shadow_an_allow_is_recorded_as_ever() -> None:
    shadow = Shadow(ShadowScope(all=True))
    shadow.activated("v1", "d", ShadowScope())
    plain, entry = await decide(Says(ALLOW))
    again, same = await decide(Says(ALLOW), shadow=shadow)
    assert (plain, entry) == (again, same)
    assert "policy_decision" not in entry


async def test_in_shadow_what_can_fit_no_entry_is_denied() -> None:
    shadow = Shadow(ShadowScope(all=True))
    shadow.activated("v1", "d", ShadowScope())
    receipt = await authorizer(Says(DENIED), Book(refuses="agent_id"), shadow=shadow).decide(a_request())
    assert (receipt.ruling.allowed, receipt.ruling.reason_code) == (False, "internal_error")
