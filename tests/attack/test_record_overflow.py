"""An agent, or a policy, fills the record until it fits no entry: then nobody would be named in it.

Whatever is asked, by whom, and whatever policy says of it: the entry fits, and says who and what.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.controls.rule import rule
from authz.errors import Denied
from authz.ledger.chain import Chain, Written
from authz.ledger.form import MAX_ENTRY
from authz.ledger.merkle import EMPTY_HASH_HEX
from authz.pipeline import Authorizer
from authz.policy.verdict import MAX_ITEMS, MAX_TEXT, read_verdict
from authz.record import decision_members
from authz.testing import a_request
from authz.values import CLAIMS, Action, Assurance, Claims, Decision, Facts, Request, Subject, Verdict
from tests import ledgers

DECISION_ID = "019b7690-0001-7000-8000-00000000abcd"
LOG = "/".join(("d" * 255, "w" * 255, "e" * 255))
AGENT = "a" * 256
WORST = {"emoji": "\U0001f600", "control": "\x01", "quote": '"', "plain": "x"}

texts = st.sampled_from([*WORST.values(), "\x7f", "é", "/", "~"]).flatmap(
    lambda one: st.integers(0, 9000).map(lambda count: one * count)
)
short_texts = texts.map(lambda text: text[:MAX_TEXT])
ascii_texts = short_texts.map(lambda text: text.encode("ascii", "ignore").decode())


def chain() -> Chain:
    signer_id = LOG.rpartition("/")[0]
    return Chain(
        LOG, 2**53 - 1, EMPTY_HASH_HEX, signer=ledgers.SIGNER, signer_id=signer_id, clock_ns=lambda: 0
    )


def sealed(request: Request, subject: Subject, verdict: Verdict) -> dict[str, Any]:
    """The entry of this decision, read again; it must fit as it is, without the pipeline's way out."""
    members = decision_members(DECISION_ID, request, subject, rule(request, verdict), "bounded")
    entry, _ = chain().seal("decision", members)
    assert len(entry) <= MAX_ENTRY
    return json.loads(entry)  # type: ignore[no-any-return]


def posting(arguments: Any, **more: Any) -> Request:
    action = Action(kind="http", tool="stripe.charge", method="POST", resource="/", arguments=arguments)
    return a_request(**{"method": "POST", "body": b"{}", "action": action, "request_id": "r-1"} | more)


def allow(**members: Any) -> Verdict:
    return read_verdict({"decision": "allow", "reason_code": "permitted"} | members)


@pytest.mark.parametrize("character", WORST.values(), ids=WORST)
def test_a_body_full_of_long_names_of_secrets_does_not_make_the_agent_anonymous(character: str) -> None:
    """32 members of 240 characters are less than 64 KiB of body; the pointers alone were over 30 KiB."""
    body = {f"{number:02}{character * 238}": {"password": 1} for number in range(32)}
    entry = sealed(posting(body), Subject(AGENT, Assurance.JWT), allow())
    assert (entry["agent_id"], entry["tool"], entry["decision"]) == (AGENT, "stripe.charge", "allow")
    assert entry["endpoint"] == "https://api.example/v1"
    assert entry["redacted"][0].startswith(("sha256:", "/body/00"))


@pytest.mark.parametrize("secrets", [1, 31, 32, 33, 500])
def test_what_is_not_named_of_the_redacted_is_counted(secrets: int) -> None:
    body = {f"part-{number:04}": {"password": 1} for number in range(secrets)}
    redacted = sealed(posting(body), Subject(AGENT, Assurance.JWT), allow())["redacted"]
    named = [pointer for pointer in redacted if pointer.startswith("/body/part-")]
    assert len(named) == min(secrets, 32)
    assert redacted[len(named) :] == ([f"and {secrets - 32} more"] if secrets > 32 else [])


def test_pointers_are_named_as_long_as_there_is_room_for_all_of_them_together() -> None:
    body = {f"{number:02}{'x' * 200}": {"password": 1} for number in range(32)}
    redacted = sealed(posting(body), Subject(AGENT, Assurance.JWT), allow())["redacted"]
    assert len(json.dumps(redacted)) < 2200
    assert redacted[-1] == f"and {32 - (len(redacted) - 1)} more"
    assert len(redacted) > 8


@pytest.mark.parametrize("name", ["\x01", "n"])
def test_a_score_that_fills_an_entry_gives_way_to_its_digest(name: str) -> None:
    score = {f"{number:02}{name * 254}": "\U0001f600" * MAX_TEXT for number in range(MAX_ITEMS)}
    entry = sealed(posting({}), Subject(AGENT, Assurance.JWT), allow(score=score))
    assert entry["score"].startswith("sha256:")
    assert (entry["agent_id"], entry["decision"]) == (AGENT, "allow")
    assert sealed(posting({}), Subject(AGENT, Assurance.JWT), allow(score={"risk": 7}))["score"] == {
        "risk": "7"
    }


subjects = st.builds(
    Subject,
    agent_id=texts.map(lambda text: text[:256] or "a"),
    assurance=st.sampled_from(Assurance),
    chain=st.lists(texts.map(lambda text: text[:256] or "a"), max_size=8).map(tuple),
    session_id=texts,
)
verdicts = st.builds(
    allow,
    rule=short_texts,
    rationale=st.lists(short_texts, max_size=MAX_ITEMS),
    evidence=st.lists(short_texts, max_size=MAX_ITEMS),
    score=st.dictionaries(ascii_texts, short_texts, max_size=MAX_ITEMS),
    obligations=st.dictionaries(ascii_texts, st.lists(short_texts, max_size=MAX_ITEMS), max_size=4),
    classification=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("tool", "category", "sensitivity"), short_texts)
    ),
)
bodies = st.dictionaries(texts, st.just({"password": 1}), max_size=40)
claims = st.dictionaries(st.sampled_from(CLAIMS), ascii_texts.map(lambda text: text.replace("\x01", "")))


@settings(deadline=None, max_examples=150)
@given(subjects, verdicts, bodies, texts, texts.map(lambda text: text[:8192]), claims)
def test_whatever_is_asked_and_ruled_the_entry_fits_and_names_who_and_what(
    subject: Subject, verdict: Verdict, body: Any, request_id: str, path: str, said: dict[str, str]
) -> None:
    path = f"/{path.replace(chr(1), '')}"
    request = posting(body, path=path, claims=Claims(said), request_id=request_id)
    entry = sealed(request, subject, verdict)
    assert entry["agent_id"] == subject.agent_id or entry["agent_id"].startswith("sha256:")
    assert entry["tool"] != "unknown"
    assert entry["method"] == "POST"
    assert bool(entry.get("request_id")) == bool(request_id)
    assert entry["endpoint"].startswith(("https://api.example/", "sha256:"))


class _Ledger:
    """Seals what it is given as the writer does."""

    def __init__(self) -> None:
        self.chain, self.entries = chain(), list[dict[str, Any]]()

    def append(self, kind: str, members: dict[str, Any], *, synced: bool) -> asyncio.Future[Written]:
        self.chain.seq = 0
        entry, written = self.chain.seal(kind, members)
        self.entries.append(json.loads(entry))
        done: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        done.set_result(written)
        return done


class _Policy:
    """Answers with a Verdict that was never read from a policy, as a fault of ours might."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict

    def question(self, request: Request, subject: Subject, now: datetime) -> Facts:
        return Facts(b"{}", "", False)

    def lookup(self, facts: Facts) -> Verdict | None:
        return self._verdict

    async def evaluate(self, facts: Facts, again: Any, timeout_s: float) -> Verdict:
        raise Denied


class _Nobody:
    def decided(self, decision: Any) -> None: ...


@pytest.mark.parametrize("tool", ["\ud800", "stripe.charge"])
async def test_a_record_that_is_impossible_all_the_same_still_names_who_asked_for_what(tool: str) -> None:
    ledger = _Ledger()
    verdict = Verdict(Decision.ALLOW, "permitted", policy_version="v" * 20_000, classification={"tool": tool})
    authorizer = Authorizer(
        identify=lambda _: Subject("billing-agent", Assurance.JWT, chain=("orchestrator",)),
        policy=_Policy(verdict),
        ledger=ledger,
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        new_id=lambda: DECISION_ID,
        timeout_s=1,
        reply_after="bounded",
        observer=_Nobody(),
    )
    receipt = await authorizer.decide(posting({}, host="api.example", path="/v1/pay"))
    assert (receipt.ruling.allowed, receipt.ruling.http_status) == (False, 503)
    (entry,) = ledger.entries
    assert (entry["decision"], entry["reason_code"]) == ("deny", "internal_error")
    assert (entry["agent_id"], entry["parent_agent_id"]) == ("billing-agent", "orchestrator")
    assert (entry["method"], entry["request_id"]) == ("POST", "r-1")
    assert entry["endpoint"].startswith("https://api.example")
