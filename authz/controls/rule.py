"""Verdict -> Ruling: what is done about what policy said. Can turn an allow into a denial, never the reverse.

An obligation is part of the allow that carries it: one that this version cannot carry out denies
(`control_unavailable`), for an allow without its condition is not what policy said.
"""

from __future__ import annotations

from authz.values import Decision, Malformed, Reason, Request, Ruling, Verdict


def rule(request: Request | Malformed, verdict: Verdict) -> Ruling:
    """The Ruling for this verdict. Obligations known here: `reply_after: synced`, `tunnel: opaque`.

    >>> from authz.values import Malformed, Reason
    >>> rule(Malformed(Reason.MALFORMED_PATH, ""), Verdict(Decision.DENY, "malformed_path")).http_status
    400
    """
    if verdict.decision is not Decision.ALLOW:
        return _without_allow(verdict)
    reason = _obstacle(request, verdict)
    if reason is not None:
        return Ruling(Decision.DENY, reason, reason.http_status, verdict, synced=False)
    synced = verdict.obligations.get("reply_after") == "synced"
    return Ruling(Decision.ALLOW, verdict.reason_code, 200, verdict, synced)


def _without_allow(verdict: Verdict) -> Ruling:
    if verdict.decision is Decision.SANITIZE:
        reason = Reason.CONTROL_UNAVAILABLE
        return Ruling(Decision.DENY, reason, reason.http_status, verdict, synced=False)
    decided_by_us = verdict.engine == "none"  # a policy may use our codes, but not our statuses
    status = Reason(verdict.reason_code).http_status if decided_by_us else 403
    return Ruling(verdict.decision, verdict.reason_code, status, verdict, synced=False)


def _obstacle(request: Request | Malformed, verdict: Verdict) -> Reason | None:
    """Why this allow cannot stand, or None."""
    if isinstance(request, Malformed):  # unreachable through the pipeline; an allow of one must not exist
        return request.reason
    obligations = verdict.obligations
    if request.action.kind == "tunnel" and obligations.get("tunnel") != "opaque":
        return Reason.TUNNEL_NOT_PERMITTED
    known = {"reply_after": "synced", "tunnel": "opaque"}
    if any(known.get(name) != value for name, value in obligations.items()):
        return Reason.CONTROL_UNAVAILABLE
    return None
