"""The sample traffic: what agents try through Envoy, and what must come of it.

In: a proxy's address and tokens. Out: an Outcome for each Attempt, with the record that it left on disk. It
is real HTTP from a real client; what is expected is written beside each attempt, and `aegis up` fails when
anything else happens.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from authz.up import records
from authz.up.issuer import P256, SampleIssuer

TOKEN: Final = "x-aegis-agent-token"  # noqa: S105 - a header's name
DECISION_ID: Final = "x-aegis-decision-id"
EHR: Final = "http://internal-ehr.myorg.example"
PAYMENTS: Final = "http://payments.myorg.example"
PARTNER: Final = "http://files.partner.example"


@dataclass(frozen=True)
class Expected:
    """HTTP status that the agent gets; decision and reason code in the record."""

    status: int
    decision: str
    reason: str


@dataclass(frozen=True)
class Attempt:
    """One request, as the agent sends it."""

    agent: str
    tries: str
    method: str
    url: str
    expected: Expected
    token: str = ""
    content: bytes = b""  # JSON


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt. `record` is empty when there is none."""

    attempt: Attempt
    status: int
    ms: float  # as the agent saw it
    received: dict[str, Any]  # what the upstream says that it received; empty when it was not reached
    record: dict[str, Any]

    @property
    def faults(self) -> list[str]:
        """What is not as expected, in words; empty when all is well."""
        expected = self.attempt.expected
        found = [] if self.record else ["no record"]
        pairs = {
            "status": (self.status, expected.status),
            "decision": (self.record.get("decision"), expected.decision),
            "reason": (self.record.get("reason_code"), expected.reason),
            "reached the upstream": (bool(self.received), expected.decision == "allow"),
        }
        found += [f"{name}: {got}, not {wanted}" for name, (got, wanted) in pairs.items() if got != wanted]
        if TOKEN in self.received.get("headers", {}):
            found.append("the token reached the upstream")
        return found


def _denied(status: int, reason: str) -> Expected:
    return Expected(status, "deny", reason)


ALLOW: Final = Expected(200, "allow", "permitted")
EGRESS: Final = _denied(403, "egress_violation")
NOT_ITS_TOOL: Final = _denied(403, "tool_not_permitted")
APPROVAL: Final = Expected(403, "approval_needed", "approval_required")
UNAVAILABLE: Final = _denied(503, "engine_unavailable")

RECORDS: Final = f"{EHR}/patients/17/records"
OTHERS: Final = f"{EHR}/patients/7/records"
UNCACHED: Final = f"{EHR}/patients/18/records"
ESCAPED: Final = f"{EHR}/patients/17%2f..%2f7/records"
EXPORT: Final = f"{PARTNER}/patients/export"
CHARGES: Final = f"{PAYMENTS}/charges"
ALL_PATIENTS: Final = b'{"patients":"all","format":"ndjson"}'
CHARGE: Final = b'{"amount_cents":4200,"currency":"EUR","reference":"2026-0017"}'
TWICE: Final = b'{"amount_cents":1,"amount_cents":50000,"currency":"EUR"}'
LARGE: Final = b'{"amount_cents":4200,"currency":"EUR","reference":"' + b"x" * 70_000 + b'"}'


def sample(issuer: SampleIssuer) -> list[Attempt]:
    """What needs nothing but a running gateway, in the order of the table."""
    clinical, billing = issuer.token("clinical-agent"), issuer.token("billing-agent", kid=P256)
    expired = issuer.token("clinical-agent", age_s=600, life_s=300)
    forged, stranger = issuer.forged("clinical-agent"), issuer.token("shadow-agent")
    return [
        _get("clinical-agent", "reads a patient's records", RECORDS, ALLOW, clinical),
        _get("clinical-agent", "reads them again", RECORDS, ALLOW, clinical),
        _post("clinical-agent", "exports all patients to a partner", EXPORT, EGRESS, clinical, ALL_PATIENTS),
        _post("billing-agent", "charges 42 EUR", CHARGES, ALLOW, billing, CHARGE),
        _get("billing-agent", "reads a patient's records", OTHERS, NOT_ITS_TOOL, billing),
        Attempt("clinical-agent", "deletes a patient", "DELETE", f"{EHR}/patients/7", APPROVAL, clinical),
        _get("somebody", "reads without a token", RECORDS, _denied(401, "identity_missing")),
        _get("shadow-agent", "reads, not registered", RECORDS, _denied(403, "agent_unknown"), stranger),
        _get("clinical-agent", "sends an expired token", RECORDS, _denied(401, "identity_expired"), expired),
        _get("somebody", "forges a token", RECORDS, _denied(401, "identity_invalid"), forged),
        _get(
            "clinical-agent", "hides slashes in the path", ESCAPED, _denied(400, "malformed_path"), clinical
        ),
        _post(
            "billing-agent",
            "charges, one member twice",
            CHARGES,
            _denied(400, "malformed_body"),
            billing,
            TWICE,
        ),
        _post(
            "billing-agent", "charges, far too large", CHARGES, _denied(413, "body_too_large"), billing, LARGE
        ),
    ]


def without_engine(issuer: SampleIssuer) -> list[Attempt]:
    """While OPA is down: what is cached still counts, what is not is denied."""
    clinical = issuer.token("clinical-agent")
    return [
        _get("clinical-agent", "reads while OPA is down, cached", RECORDS, ALLOW, clinical),
        _get("clinical-agent", "reads while OPA is down, not cached", UNCACHED, UNAVAILABLE, clinical),
    ]


def with_engine_again(issuer: SampleIssuer) -> list[Attempt]:
    """After OPA has come back: what was denied for its absence is decided."""
    clinical = issuer.token("clinical-agent")
    return [_get("clinical-agent", "reads the same, OPA is back", UNCACHED, ALLOW, clinical)]


def _get(agent: str, tries: str, url: str, expected: Expected, token: str = "") -> Attempt:
    return Attempt(agent, tries, "GET", url, expected, token)


def _post(agent: str, tries: str, url: str, expected: Expected, token: str, content: bytes) -> Attempt:
    return Attempt(agent, tries, "POST", url, expected, token, content)


class Agents:
    """An HTTP client behind the gateway, and the ledger in which its attempts are looked up."""

    def __init__(self, proxy: str, ledger: Path) -> None:
        self._client = httpx.Client(proxy=proxy, trust_env=False, timeout=10)
        self._ledger = ledger

    def play(self, attempts: list[Attempt]) -> list[Outcome]:
        """Send each in turn, then read the records that they left."""
        answers = [self._send(attempt) for attempt in attempts]
        written = records.decisions(self._ledger)
        return [
            Outcome(attempt, response.status_code, ms, _received(response), written.get(_id(response), {}))
            for attempt, (response, ms) in zip(attempts, answers, strict=True)
        ]

    def close(self) -> None:
        self._client.close()

    def _send(self, attempt: Attempt) -> tuple[httpx.Response, float]:
        headers = {TOKEN: attempt.token} if attempt.token else {}
        if attempt.content:
            headers["content-type"] = "application/json"
        started = time.perf_counter()
        response = self._client.request(
            attempt.method, attempt.url, headers=headers, content=attempt.content or None
        )
        return response, (time.perf_counter() - started) * 1000


def _id(response: httpx.Response) -> str:
    return str(response.headers.get(DECISION_ID, ""))


def _received(response: httpx.Response) -> dict[str, Any]:
    received: dict[str, Any] = response.json() if response.status_code == 200 else {}
    return received
