"""What a judgement of completeness found, as values: for a person, for `--json`, for an exit code."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from authz.ledger.outcomes import Joined

Verdict = Literal["complete", "not_established", "gap", "missing", "invalid"]
# A later one counts more: what was falsified says more than what is not here, and that more than a doubt.
ORDER: Final[tuple[Verdict, ...]] = ("complete", "not_established", "gap", "missing", "invalid")
MAX_FINDINGS: Final = 200  # listed; the rest is counted


class Finding(Struct, frozen=True):
    """Why the interval is not complete, in `log` ("" where it is about requests)."""

    verdict: Verdict
    log: str
    what: str


class Covered(Struct, frozen=True):
    """One log that has to do with the interval: when it began and ended on disk (RFC 3339; "" for a living
    one), its `entries` within the interval, `heads` of it that the control log has there and in how many
    seconds they came at most.
    """

    log: str
    first: str
    ended: str
    entries: int
    heads: int
    longest_s: float
    refusals: int  # answers that left without a record, as its heartbeats say: all of them denials
    clock_unsynchronized: int  # heartbeats that say so, of `heartbeats`
    heartbeats: int


class Completeness(Struct, frozen=True):
    """`verdict` is the weightiest of `findings`, `complete` without any."""

    verdict: Verdict
    start: str
    end: str
    findings: tuple[Finding, ...]
    finding_count: int
    logs: tuple[Covered, ...]
    requests: Joined
    not_checked: tuple[str, ...]


def weightiest(findings: list[Finding]) -> Verdict:
    return max((finding.verdict for finding in findings), key=ORDER.index, default="complete")
