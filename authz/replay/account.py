"""In plain words why one decision came out as it did: only what its record, facts, version and outcome say.

In: a Replayed, the version that decided, the outcome, what fired, the Disagreements. Out: sections of lines.
Called by `aegis explain`. Nothing here is made up by a model or guessed: what is not known it says is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
from msgspec import Struct

from authz.replay.agreement import THRESHOLD, VALUE, Disagreement
from authz.replay.recorded import WORDS
from authz.replay.replaying import Replayed
from authz.replay.trace import Step
from authz.replay.version import Version
from authz.values import Decision

MAX_LINES: Final = 40  # of facts or of rules
_DECIDED: Final[Mapping[str, str]] = {
    Decision.ALLOW: "It was allowed",
    Decision.DENY: "It was denied",
    Decision.WOULD_BLOCK: "It was let through in shadow; policy would have stopped it",
    Decision.APPROVAL_NEEDED: "It was not let through: a person's approval is needed",
    Decision.SANITIZE: "It was to be cleaned first",
}
_KNOWN: Final[Mapping[str, str]] = {
    "mtls": "by its client certificate",
    "jwt": "by its signed token",
    "header": "by a header that nobody verified",
    "none": "by nothing",
}


class Section(Struct, frozen=True):
    """A heading, and what is under it."""

    title: str
    lines: tuple[str, ...]


def account(
    each: Replayed,
    version: Version | None,
    outcome: Mapping[str, Any] | None,
    fired: Sequence[Step],
    found: Sequence[Disagreement],
) -> list[Section]:
    """In the order in which somebody asks: what, why, on which grounds, what then, does it all agree."""
    return [
        Section("What happened", tuple(_what(each.recorded.members))),
        Section("Why", tuple(_why(each))),
        Section("What policy was asked", tuple(_asked(each))),
        Section("Evidence that policy named", tuple(_evidence(each.recorded.members, version))),
        Section("Rules that fired", tuple(_fired(fired))),
        Section("What was done about it", tuple(_done(each.recorded.members, outcome))),
        Section("Does it agree", tuple(_agrees(each, found))),
        Section("See for yourself", tuple(_see(each))),
    ]


def _what(members: Mapping[str, Any]) -> Iterator[str]:
    get = members.get
    assurance = str(get("identity_assurance", "none"))
    yield f"At {get('timestamp')} agent {get('agent_id')}, known {_KNOWN.get(assurance, assurance)},"
    if chain := get("agent_chain"):
        yield f"acting for {', '.join(chain) if isinstance(chain, list) else chain},"
    yield f"asked for {get('method', '?')} {get('endpoint')}"
    classes = ", ".join(f"{name} {get(name)}" for name in ("category", "sensitivity") if get(name))
    yield f"which is tool {get('tool')}{f' ({classes})' if classes else ''}."
    if context := get("context"):
        yield f"It says of itself, unverified: {json.dumps(context, ensure_ascii=False)}"


def _why(each: Replayed) -> Iterator[str]:
    members = each.recorded.members
    decision = str(members.get("decision"))
    yield f"{_DECIDED.get(decision, decision)}: {members.get('reason_code')}."
    if members.get("engine", "none") == "none":
        yield "No policy version decided this, but the authorizer: policy was not asked, or gave no answer."
    else:
        yield (
            f"Rule {members.get('rule') or '(unnamed)'} of policy version {members.get('policy_version')} "
            f"(digest {each.recorded.digest}) decided it."
        )
    if rationale := members.get("rationale"):
        yield f"In the policy's words: {'; '.join(rationale) if isinstance(rationale, list) else rationale}"
    score = members.get("score")
    if isinstance(score, dict):
        yield _score(score)
    for name, words in (("approver", "Approved by"), ("override_reason", "Overridden because")):
        if members.get(name):
            yield f"{words} {members[name]}."


def _score(score: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in score.items() if name not in (VALUE, THRESHOLD)}
    more = f" ({', '.join(f'{name} {value}' for name, value in rest.items())})" if rest else ""
    return f"Score {score.get(VALUE, '?')} against the threshold {score.get(THRESHOLD, '?')}{more}"


def _asked(each: Replayed) -> Iterator[str]:
    if not each.recorded.question:
        yield f"Not known: {WORDS[each.recorded.why] if each.recorded.why else 'no facts'}."
        return
    shown = json.dumps(orjson.loads(each.recorded.question), indent=1, ensure_ascii=False).splitlines()
    yield from shown[:MAX_LINES]
    if len(shown) > MAX_LINES:
        yield f"and {len(shown) - MAX_LINES} lines more: `aegis disclose`"
    if each.recorded.masked:
        yield f"Masked: {', '.join(each.recorded.masked)}"


def _evidence(members: Mapping[str, Any], version: Version | None) -> Iterator[str]:
    said = members.get("evidence")
    yield from said if isinstance(said, list) else [f"{said}" if said else "None."]
    if said and version is None:
        yield "Whether the version has these cannot be said: it is not here."


def _fired(fired: Sequence[Step]) -> Iterator[str]:
    for step in fired[:MAX_LINES]:
        yield f"{step.place}  {step.text}"
    if len(fired) > MAX_LINES:
        yield f"and {len(fired) - MAX_LINES} more: `aegis replay`"
    if not fired:
        yield "Not known: the decision was not replayed."


def _done(members: Mapping[str, Any], outcome: Mapping[str, Any] | None) -> Iterator[str]:
    get = members.get
    yield f"Mode {get('mode')}; the answer waited until the record was {_waited(str(get('reply_after')))}."
    if get("policy_decision"):
        yield f"Policy had decided {get('policy_decision')}: in shadow that is recorded and not enforced."
    if obligations := get("obligations"):
        yield f"Policy obliged: {json.dumps(obligations, ensure_ascii=False)}"
    if outcome is None:
        yield "What became of the request is not recorded in this log."
        return
    went = "forwarded to the upstream" if outcome.get("forwarded") else "not forwarded"
    took = f"after {outcome.get('duration_us', '?')} us"
    yield f"The gateway says: {went}, HTTP {outcome.get('status', '?')}, {took}."


def _waited(reply_after: str) -> str:
    return "on disk" if reply_after == "synced" else "written"


def _agrees(each: Replayed, found: Sequence[Disagreement]) -> Iterator[str]:
    if each.why is not None:
        yield f"not_replayable: {each.why}: {each.detail or WORDS[each.why]}"
    elif not each.differs:
        yield f"Replayed by {each.under}: the same."
    for disagreement in found:
        yield f"DISAGREES  {disagreement.about}: {disagreement.what}"
    if not found:
        yield "Nothing that could be checked disagrees."


def _see(each: Replayed) -> Iterator[str]:
    decision_id = each.recorded.decision_id
    yield f"aegis show {decision_id}                  the record, its place and its attestation"
    yield f"aegis proof {decision_id}                 its proof, for verifiers that others wrote"
    yield f"aegis disclose {decision_id} --why ...    what is kept beside it"
    yield f"aegis replay {decision_id} --why ...      policy, asked again"
