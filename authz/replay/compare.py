"""What a verdict that was given again says, beside what the record says: member by member.

In: a decision's members, a Judged. Out: Differences, none where the decision came out the same. Called by
`replaying.py`. What controls made of the verdict is made of it again, as far as that needs no state: a
denial in shadow is compared by what policy decided, an allow without its condition by its denial.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from authz import canonical
from authz.controls.rule import NOT_UTF8, fallen, obstacle
from authz.record import short
from authz.replay.judges import Judged
from authz.values import SHADOW, Decision, Reason, Verdict

# What policy says, in the order in which it is shown.
MEMBERS: Final = ("decision", "reason_code", "rule", "rationale", "evidence", "score", "obligations")
CLASSES: Final = ("tool", "category", "sensitivity")


class Difference(Struct, frozen=True):
    """`member` of the record, what it is there, and what it would be; None where there is none."""

    member: str
    recorded: Any
    now: Any


class Outcome(Struct, frozen=True):
    """What is done about a request because of policy, by the name of the rule."""

    decision: str
    reason_code: str
    rule: str


def recorded_outcome(members: Mapping[str, Any]) -> Outcome:
    """What policy decided, whatever of it was enforced."""
    rule = str(members.get("rule", ""))
    shadow = members.get("mode") == SHADOW
    decision = members.get("policy_decision") if shadow else members.get("decision")
    if shadow and decision == Decision.SANITIZE:  # enforced it is what nobody can carry out
        return Outcome(Decision.DENY, str(Reason.CONTROL_UNAVAILABLE), rule)
    return Outcome(str(decision), str(members.get("reason_code")), rule)


def outcome(judged: Judged, members: Mapping[str, Any]) -> Outcome:
    """What would be done about the decision's action: a Judged after the controls that keep no state."""
    verdict = judged.verdict
    if verdict is None:
        reason = judged.fault.reason if judged.fault else Reason.POLICY_ERROR
        return Outcome(Decision.DENY, str(reason), "authorizer")
    rule = short(verdict.rule)
    if why := _obstacle(verdict, members):
        return Outcome(Decision.DENY, str(why), rule)
    if verdict.decision in (Decision.SANITIZE, Decision.WOULD_BLOCK):
        return Outcome(Decision.DENY, str(Reason.CONTROL_UNAVAILABLE), rule)
    return Outcome(str(verdict.decision), str(verdict.reason_code), rule)


def _obstacle(verdict: Verdict, members: Mapping[str, Any]) -> Reason | None:
    """Why an allow cannot stand. That bytes of the request were no UTF-8 is known from the record alone."""
    if verdict.decision is not Decision.ALLOW:
        return None
    lossy = _same(members.get("rationale"), [NOT_UTF8])
    return obstacle(str(members.get("action", "")), verdict, lossy=lossy)


def differences(members: Mapping[str, Any], judged: Judged) -> tuple[Difference, ...]:
    """In the order of MEMBERS and CLASSES."""
    return tuple(_differences(members, judged))


def _differences(members: Mapping[str, Any], judged: Judged) -> Iterator[Difference]:
    before, now = recorded_outcome(members), outcome(judged, members)
    for name in ("decision", "reason_code", "rule"):
        if getattr(before, name) != getattr(now, name):
            yield Difference(name, getattr(before, name), getattr(now, name))
    verdict = judged.verdict or Verdict(Decision.DENY, Reason.POLICY_ERROR)
    if _obstacle(verdict, members):
        verdict = fallen(verdict)
    said: dict[str, Any] = {
        "rationale": list(verdict.rationale),
        "evidence": list(verdict.evidence),
        "score": verdict.score,
        "obligations": verdict.obligations,
    }
    for name, value in said.items():
        if not _same(members.get(name), value):
            yield Difference(name, members.get(name), value or None)
    for name in CLASSES:
        called = verdict.classification.get(name)
        if called is not None and members.get(name) != short(called):
            yield Difference(name, members.get(name), called)


def _same(found: Any, value: Any) -> bool:
    """Of a long value a record holds the digest."""
    if isinstance(found, str) and found.startswith("sha256:") and value:
        return found == f"sha256:{hashlib.sha256(canonical.encode(value)).hexdigest()}"
    return bool((found or type(value)()) == value)
