"""Reads what policy returned, strictly: an unknown member, a wrong type or an excess is `policy_error`.

In: the `result` of an answer. Out: a Verdict without its version. Called by `stage.py` for every answer
that was not cached. Everything in a Verdict fits an entry's canonical profile (no floats, no nulls, integers
within 2^53), so a policy cannot produce a decision that has no record.

    {"decision": "allow|deny|sanitize|approval_needed", "reason_code": "[a-z][a-z0-9_]{0,63}",
     "rule": str, "rationale": [str], "evidence": [str], "score": {str: str | int},
     "obligations": {str: JSON}, "classification": {"tool" | "category" | "sensitivity": str}}

Only the first two are required. What a policy author did wrong is named by member and kind, never by value.
"""

from __future__ import annotations

import re
from typing import Any, Final, NoReturn

from authz.errors import Denied
from authz.values import Decision, Reason, Verdict

MAX_TEXT: Final = 256
MAX_ITEMS: Final = 32
MAX_DEPTH: Final = 8
_SAFE_INTEGER: Final = (1 << 53) - 1
REASON_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
DECISIONS: Final = {
    str(decision): decision
    for decision in (Decision.ALLOW, Decision.DENY, Decision.SANITIZE, Decision.APPROVAL_NEEDED)
}
_MEMBERS: Final = frozenset(
    "decision reason_code rule rationale evidence score obligations classification".split()
)
_CLASSIFICATION: Final = frozenset(("tool", "category", "sensitivity"))


def read_verdict(result: Any) -> Verdict:
    """Raises Denied(policy_error) for everything but the form above."""
    if not isinstance(result, dict):
        _refuse(_plugin_result(result))
    if unknown := result.keys() - _MEMBERS:
        _refuse(_plugin_result(result) if "allowed" in unknown else f"{len(unknown)} unknown members")
    decision, reason = result.get("decision"), result.get("reason_code")
    if not isinstance(decision, str) or decision not in DECISIONS:
        _refuse("decision: not one of allow, deny, sanitize, approval_needed")
    if not isinstance(reason, str) or not REASON_CODE.fullmatch(reason):
        _refuse("reason_code: not a lower-case word")
    return Verdict(
        decision=DECISIONS[decision],
        reason_code=reason,
        rule=_text(result.get("rule", ""), "rule"),
        rationale=_texts(result.get("rationale", []), "rationale"),
        evidence=_texts(result.get("evidence", []), "evidence"),
        score=_score(result.get("score", {})),
        obligations=_obligations(result.get("obligations", {})),
        classification=_classification(result.get("classification", {})),
    )


def _refuse(what: str) -> NoReturn:
    raise Denied(Reason.POLICY_ERROR, f"policy result: {what}")


def _plugin_result(result: Any) -> str:
    if isinstance(result, (bool, dict)):
        return "opa-envoy-plugin results (a boolean, or an object with `allowed`) are not read yet"
    return "not an object"


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        _refuse(f"{what}: not a string of at most {MAX_TEXT} characters")
    return value


def _texts(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_ITEMS:
        _refuse(f"{what}: not a list of at most {MAX_ITEMS} strings")
    return tuple(_text(item, what) for item in value)


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > MAX_ITEMS:
        _refuse(f"{what}: not an object of at most {MAX_ITEMS} members")
    if not all(name.isascii() and len(name) <= MAX_TEXT for name in value):
        _refuse(f"{what}: a member's name is not short ASCII")
    return value


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _SAFE_INTEGER


def _score(value: Any) -> dict[str, str]:
    score: dict[str, str] = {}
    for name, item in _object(value, "score").items():
        score[name] = str(item) if _integer(item) else _text(item, "score")
    return score


def _classification(value: Any) -> dict[str, str]:
    called = _object(value, "classification")
    if called.keys() - _CLASSIFICATION:
        _refuse("classification: a member besides tool, category, sensitivity")
    return {name: _text(item, "classification") for name, item in called.items()}


def _obligations(value: Any) -> dict[str, Any]:
    obligations = _object(value, "obligations")
    for item in obligations.values():
        _canonical(item, MAX_DEPTH)
    return obligations


def _canonical(value: Any, depth: int) -> None:
    """Only what an entry can hold: no floats, no nulls, short strings, bounded lists and objects."""
    if depth == 0:
        _refuse("obligations: nested too deeply")
    if isinstance(value, bool) or _integer(value):
        return
    if isinstance(value, dict):
        items = list(_object(value, "obligations").values())
    elif isinstance(value, list) and len(value) <= MAX_ITEMS:
        items = value
    else:
        _text(value, "obligations")
        return
    for item in items:
        _canonical(item, depth - 1)
