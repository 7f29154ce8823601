"""Where what explains a decision disagrees: its record, its facts, its evidence, its policy version.

    rationale     its label says another decision than the one that was made
    evidence      it points to data that the version does not have, or to a fact that there is not
    rule          it is a cell of the matrix, and the record names another category or sensitivity
    score         it is on the other side of its threshold than the decision
    facts         they are of another agent, method or host than the record
    parameters    their hash is not the record's
    replay        the version, asked again, says something else
    outcome       the gateway forwarded what was not allowed

In: a Replayed, the version that decided, the outcome. Out: Disagreements, each of which is a defect of
the policy or of ours. Called by `aegis explain`. What cannot be checked is no disagreement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import orjson
from msgspec import Struct

from authz.record import hash_of
from authz.replay.replaying import Replayed
from authz.replay.version import Version
from authz.values import FORWARDED, MISSING, Decision

# What a rationale's labels say of the decision (MISSION: policy-compliant, ...).
LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    "policy-compliant": (Decision.ALLOW, Decision.SANITIZE),
    "policy-violation": (Decision.DENY,),
    "approval-required": (Decision.APPROVAL_NEEDED,),
}
MATRIX: Final = "matrix"
THRESHOLD: Final = "threshold"
VALUE: Final = "value"
# Of a score: at its threshold, or on this side of it, the action is not for the agent alone.
SIDE: Final = "refused"  # "above" (default) or "below"


class Disagreement(Struct, frozen=True):
    """Between what, and what each of the two says."""

    about: str
    what: str


def disagreements(
    each: Replayed, version: Version | None, outcome: Mapping[str, Any] | None = None
) -> tuple[Disagreement, ...]:
    """All of them, in the order above."""
    members = each.recorded.members
    decision = each.before.decision
    return (
        *_rationale(members, decision),
        *_evidence(members, each.recorded.question, version),
        *_rule(members),
        *_score(members, decision),
        *_facts(members, each.recorded.question),
        *_parameters(members, each.recorded.parameters),
        *_replay(each),
        *_outcome(members, outcome),
    )


def _rationale(members: Mapping[str, Any], decision: str) -> Iterator[Disagreement]:
    said = members.get("rationale")
    for label in said if isinstance(said, list) else ():
        if label in LABELS and decision not in LABELS[label]:
            yield Disagreement("rationale", f"it says {label}, and the decision is {decision}")


def _evidence(members: Mapping[str, Any], question: bytes, version: Version | None) -> Iterator[Disagreement]:
    said = members.get("evidence")
    data = orjson.loads(version.content.get("/data.json", b"{}")) if version else None
    facts = orjson.loads(question) if question else None
    for pointer in said if isinstance(said, list) else ():
        parts = pointer.strip("/").split("/")
        if parts[0] == "input" and facts is not None:
            if not holds(facts, parts[1:]):
                yield Disagreement("evidence", f"{pointer}: there is no such fact")
        elif isinstance(data, dict) and parts[0] in data and not holds(data, parts):
            label = version.label if version else ""
            yield Disagreement("evidence", f"{pointer}: not in the data of {label}")


def holds(tree: Any, parts: Sequence[str]) -> bool:
    """Whether `tree` has something at `parts`; names may hold slashes (SPIFFE ids, paths)."""
    if not parts:
        return True
    if isinstance(tree, list):
        return parts[0].isdecimal() and int(parts[0]) < len(tree) and holds(tree[int(parts[0])], parts[1:])
    if not isinstance(tree, dict):
        return False
    names = ((count, "/".join(parts[:count])) for count in range(1, len(parts) + 1))
    return any(name in tree and holds(tree[name], parts[count:]) for count, name in names)


def _rule(members: Mapping[str, Any]) -> Iterator[Disagreement]:
    parts = str(members.get("rule", "")).split("/")
    if parts[0] != MATRIX or len(parts) != 3:
        return
    for name, said in zip(("category", "sensitivity"), parts[1:], strict=True):
        if members.get(name, said) != said:
            yield Disagreement("rule", f"{members['rule']}: the record's {name} is {members[name]}")


def _score(members: Mapping[str, Any], decision: str) -> Iterator[Disagreement]:
    score = members.get("score")
    if not isinstance(score, dict) or THRESHOLD not in score or VALUE not in score:
        return
    value, threshold = _number(score[VALUE]), _number(score[THRESHOLD])
    if value is None or threshold is None:
        yield Disagreement("score", "value or threshold: not a number")
        return
    refused = value <= threshold if score.get(SIDE) == "below" else value >= threshold
    side = f"{value} is {'not ' if not refused else ''}refused by the threshold {threshold}"
    if refused and decision == Decision.ALLOW:
        yield Disagreement("score", f"{side}, and the decision is {decision}")
    elif not refused and decision != Decision.ALLOW and "score" in str(members.get("reason_code")):
        yield Disagreement("score", f"{side}, and the reason for {decision} is {members.get('reason_code')}")


def _number(text: Any) -> Decimal | None:
    try:
        number = Decimal(str(text))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _facts(members: Mapping[str, Any], question: bytes) -> Iterator[Disagreement]:
    facts = orjson.loads(question) if question else {}
    pairs = (
        ("agent_id", ("agent", "id")),
        ("identity_assurance", ("agent", "assurance")),
        ("agent_chain", ("agent", "chain")),
        ("action", ("action", "kind")),
        ("method", ("action", "method")),
    )
    for name, path in pairs:
        said, recorded = _at(facts, path), members.get(name)
        if said and recorded and said != recorded and not str(recorded).startswith("sha256:"):
            yield Disagreement(
                "facts", f"{'/'.join(path)} is {said!r}, and the record's {name} is {recorded!r}"
            )
    host = _at(facts, ("destination", "host"))
    if isinstance(host, str) and host and f"://{host}" not in str(members.get("endpoint")):
        yield Disagreement("facts", f"destination/host is {host!r}, and the record's endpoint is another")


def _at(tree: Any, path: Sequence[str]) -> Any:
    for part in path:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _parameters(members: Mapping[str, Any], parameters: Any) -> Iterator[Disagreement]:
    if parameters is not MISSING and hash_of(parameters) != members.get("params_hash"):
        yield Disagreement("parameters", "their hash is not the record's params_hash")


def _replay(each: Replayed) -> Iterator[Disagreement]:
    for difference in each.differs:
        what = f"{difference.member} recorded {difference.recorded!r}, by {each.under} now {difference.now!r}"
        yield Disagreement("replay", what)


def _outcome(members: Mapping[str, Any], outcome: Mapping[str, Any] | None) -> Iterator[Disagreement]:
    if outcome and outcome.get("forwarded") is True and members.get("decision") not in FORWARDED:
        yield Disagreement("outcome", f"it was forwarded, and the decision is {members.get('decision')}")
