"""Verdict -> Ruling: what is done about what policy said. Can turn an allow into a denial; the reverse only
where the policy is in shadow, and then it is recorded as `would_block`.

An obligation is part of the allow that carries it: one that this version cannot carry out denies
(`control_unavailable`), for an allow without its condition is not what policy said.

Hard denials hold in shadow, too: those that no engine gave (identity, malformed requests, no usable policy),
those that policy gives for one of the authorizer's own reasons, and whatever could not be allowed either.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from authz.controls.shadow import Shadow
from authz.values import (
    SHADOW,
    UNKNOWN,
    Decision,
    Malformed,
    PluginAnswer,
    Reason,
    Request,
    Ruling,
    Subject,
    Verdict,
)

# What each obligation that can be carried out may say. `capture` is the most that may be kept of the payload
# (`explanation.py`), `retention_days` the least time that the record stays (`followers/retention`).
_CARRIED_OUT: Final[dict[str, tuple[str, ...]]] = {
    "reply_after": ("synced",),
    "tunnel": ("opaque",),
    "capture": ("hash", "redacted"),
}
RETENTION: Final = "retention_days"
MAX_RETENTION_DAYS: Final = 36_500
_NOTHING_IN_SHADOW: Final = Shadow()
NOT_UTF8: Final = "policy result: text of the request that is no UTF-8"
_HARD: Final = frozenset(map(str, Reason))
# Nothing cleans yet; and that a denial is not enforced is not for a policy's answer to say.
_UNAVAILABLE: Final = (Decision.SANITIZE, Decision.WOULD_BLOCK)


def rule(
    request: Request | Malformed,
    verdict: Verdict,
    subject: Subject = UNKNOWN,
    shadow: Shadow = _NOTHING_IN_SHADOW,
) -> Ruling:
    """The Ruling for this verdict about `subject`. Obligations known here: `reply_after: synced`,
    `tunnel: opaque`, `capture: hash` or `redacted`, and `retention_days`, 1 to 36500.

    >>> from authz.values import Malformed, Reason
    >>> rule(Malformed(Reason.MALFORMED_PATH, ""), Verdict(Decision.DENY, "malformed_path")).http_status
    400
    """
    if verdict.decision is not Decision.ALLOW:
        if shadow.covers(verdict, subject) and not _hard(request, verdict):
            return Ruling(Decision.WOULD_BLOCK, verdict.reason_code, 200, verdict, _synced(verdict), SHADOW)
        return _without_allow(verdict)
    reason = _obstacle(request, verdict)
    if reason is not None:
        return Ruling(Decision.DENY, reason, reason.http_status, fallen(verdict), synced=False)
    return Ruling(Decision.ALLOW, verdict.reason_code, 200, verdict, _synced(verdict))


def _synced(verdict: Verdict) -> bool:
    return verdict.obligations.get("reply_after") == "synced"


def _hard(request: Request | Malformed, verdict: Verdict) -> bool:
    """Whether this denial holds whatever is in shadow."""
    ours = verdict.engine == "none" or verdict.reason_code in _HARD
    if ours or verdict.decision is Decision.WOULD_BLOCK or _obstacle(request, verdict) is not None:
        return True
    return request.mcp is not None and request.mcp.fault is not None


def _without_allow(verdict: Verdict) -> Ruling:
    if verdict.decision in _UNAVAILABLE:
        reason = Reason.CONTROL_UNAVAILABLE
        return Ruling(Decision.DENY, reason, reason.http_status, verdict, synced=False)
    decided_by_us = verdict.engine == "none"  # a policy may use our codes, but not our statuses
    status = Reason(verdict.reason_code).http_status if decided_by_us else 403
    return Ruling(verdict.decision, verdict.reason_code, status, verdict, synced=False)


def _obstacle(request: Request | Malformed, verdict: Verdict) -> Reason | None:
    """Why this allow cannot stand, or None."""
    if isinstance(request, Malformed):  # unreachable through the pipeline; an allow of one must not exist
        return request.reason
    lossy = request.plugin is not None and request.plugin.lossy
    return obstacle(request.action.kind, verdict, lossy=lossy)


def obstacle(kind: str, verdict: Verdict, *, lossy: bool) -> Reason | None:
    """Why this allow of an action of this kind cannot stand, or None. `lossy`: as of a PluginInput."""
    if verdict.answer is not None:
        return _unlike_plugin(verdict.answer, lossy=lossy)
    obligations = verdict.obligations
    if kind == "tunnel" and obligations.get("tunnel") != "opaque":
        return Reason.TUNNEL_NOT_PERMITTED
    for name, value in obligations.items():
        if value not in _CARRIED_OUT.get(name, ()) and not _is_retention(name, value):
            return Reason.CONTROL_UNAVAILABLE
    return None


def fallen(verdict: Verdict) -> Verdict:
    """An allow that cannot stand, as it is recorded."""
    return verdict if verdict.answer is None else replace(verdict, rationale=(NOT_UTF8,))


def _unlike_plugin(answer: PluginAnswer, *, lossy: bool) -> Reason | None:
    """An allow of opa-envoy-plugin's kind has no obligations, and is one for tunnels, too. Bytes of the
    request that are no UTF-8 cannot stand in an answer: the plugin then gives none.
    """
    return Reason.POLICY_ERROR if lossy and answer.replaced else None


def _is_retention(name: str, value: Any) -> bool:
    return name == RETENTION and type(value) is int and 0 < value <= MAX_RETENTION_DAYS
