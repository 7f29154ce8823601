"""A worker that answers Check: the product's own parts, a real OPA, a ledger on disk; only Envoy is missing.

    async with serving(tmp_path) as worker:
        answer = await worker.check(message(token=worker.token(), path="/v1"))
    # here the ledger was closed, verified from disk, and compared with every answer that was given

`message` writes what Envoy would send; whatever is malformed is made from it, by field or by byte.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uuid_utils
from msgspec import Struct

from authz._pb.aegis_ext_authz_pb2 import CheckRequest, CheckResponse
from authz.config import Settings
from authz.controls.redaction import Redaction
from authz.controls.shadow import Shadow
from authz.explanation import Explanation
from authz.identity.jwks import open_keys
from authz.identity.jwt import Identifier
from authz.ledger import keys
from authz.ledger.journal import Disk
from authz.ledger.opening import open_ledger
from authz.ledger.trust import Trust
from authz.ledger.verify import verify
from authz.ledger.writer import LedgerWriter, Observed
from authz.pipeline import Authorizer
from authz.policy.stage import PolicyStage, open_stage
from authz.telemetry.metrics import WorkerMetrics
from authz.telemetry.observer import DecisionObserver
from authz.values import FORWARDED
from authz.wire.bursts import Bursts
from authz.wire.service import Service
from tests.policy.opa import opa_with, version_of
from tests.tokens import Issuer, write_keys

AGENT = "agent-1"
# Allows whatever could be read and was asked by somebody: what is denied under it, the readers have denied.
# It reads every part of the request, so that every part has to be built.
PERMISSIVE = """
default decision := {"decision": "deny", "reason_code": "not_permitted", "rule": "default"}

decision := {"decision": "allow", "reason_code": "permitted", "rule": "permissive"} if {
    input.agent.id != ""
    not forbidden
}

forbidden if input.attributes.forbidden
forbidden if input.parsed_path[_] == "forbidden"
forbidden if input.parsed_query.forbidden
forbidden if input.parsed_body.forbidden
forbidden if input.action.arguments.forbidden
forbidden if input.session.id == "forbidden"
"""


class Answer(Struct, frozen=True):
    """What Envoy would make of one CheckResponse."""

    allowed: bool
    http_status: int  # 200 when allowed
    headers: dict[str, str]  # to the upstream when allowed, to the agent otherwise
    removed: tuple[str, ...]
    body: Any

    @property
    def decision_id(self) -> str:
        return self.headers.get("x-aegis-decision-id", "")


class Call:
    """What the transport says of a call: seconds until nobody waits, and Envoy's span."""

    def __init__(self, time_left: float | None = 5.0, traceparent: str = "") -> None:
        self._time_left, self._traceparent = time_left, traceparent

    def time_left(self) -> float | None:
        return self._time_left

    def traceparent(self) -> str:
        return self._traceparent


class CheckWorker:
    """The parts, and every answer that they gave."""

    def __init__(
        self, settings: Settings, issuer: Issuer, policy: PolicyStage, ledger: LedgerWriter, shadow: Shadow
    ) -> None:
        self.settings, self.issuer, self.policy, self.ledger = settings, issuer, policy, ledger
        self.shadow = shadow
        self.metrics = WorkerMetrics()
        self.answers: list[Answer] = []
        self.identifier = Identifier(
            settings.identity,
            keys=open_keys(settings.identity, settings.state, time.time),
            protected=settings.protected,
            wall=time.time,
        )
        authorizer = Authorizer(
            identify=self.identifier.identify,
            policy=policy,
            ledger=ledger,
            now=lambda: datetime.now(UTC),
            new_id=lambda: str(uuid_utils.uuid7()),
            timeout_s=2.0,
            reply_after=settings.ledger.reply_after,
            observer=DecisionObserver(self.metrics, None),
            shadow=shadow,
            explanation=explanation_of(settings),
        )
        bursts = Bursts(settings.listen.gather_ms / 1000)
        self.service = Service(settings, authorizer, self.metrics, ledger.count_refusal, bursts)

    def token(self, **claims: Any) -> str:
        return self.issuer.token(now=int(time.time()) - 5, **claims)

    async def check(self, message: CheckRequest | bytes, call: Call | None = None) -> Answer:
        data = message if isinstance(message, bytes) else message.SerializeToString()
        answer = read_answer(await self.service.handle(data, call or Call()))
        self.answers.append(answer)
        return answer

    def entries(self) -> list[dict[str, Any]]:
        """Everything written, from disk."""
        files = sorted(self.settings.ledger_directory.glob("*/entries/*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]

    def records(self) -> dict[str, dict[str, Any]]:
        """The decisions on disk by their id."""
        return {entry["decision_id"]: entry for entry in self.entries() if entry["kind"] == "decision"}

    async def recorded(
        self, message: CheckRequest | bytes, call: Call | None = None
    ) -> tuple[Answer, dict[str, Any]]:
        """The answer, and the record that it names, which is among the last on disk."""
        answer = await self.check(message, call)
        last = sorted(self.settings.ledger_directory.glob("*/entries/*.jsonl"))[-1]
        for line in reversed(last.read_bytes().splitlines()[-32:]):
            if answer.decision_id.encode() in line:
                return answer, json.loads(line)
        raise AssertionError(f"no record of {answer}")

    def audit(self) -> None:
        """The ledger verifies, and every answer is what its record says."""
        trust = Trust(
            {f"{self.settings.deployment}/": (public(self.settings.path(self.settings.ledger.log_key)),)},
            (public(self.settings.path(self.settings.ledger.record_key)),),
        )
        report = verify(self.settings.ledger_directory, trust, 3)
        assert report.verified, report.first_fault
        assert sum(log.entries for log in report.logs) == len(self.entries())
        records = self.records()
        for answer in self.answers:
            if answer.allowed or answer.decision_id:
                assert (records[answer.decision_id]["decision"] in FORWARDED) is answer.allowed


def explanation_of(settings: Settings) -> Explanation | None:
    """As the product has it."""
    wanted = settings.disclosures
    return Explanation(wanted, Redaction(settings.redaction)) if wanted.wanted else None


def public(seed_file: Path) -> bytes:
    return keys.public_key(keys.load(seed_file))


@asynccontextmanager
async def serving(
    directory: Path, rego: str = PERMISSIVE, disk: Disk | None = None, **sections: Any
) -> AsyncIterator[CheckWorker]:
    """A worker whose policy is `package aegis` with the body `rego`; `sections` are those of the settings."""
    issuer = Issuer()
    state = directory / "var"
    (state / "keys").mkdir(parents=True)
    write_keys(state / "keys" / "agents.jwks.json", issuer)
    async with opa_with(version_of(directory, rego)) as opa:
        settings = Settings.model_validate(
            {"state": state, "policy": {"opa_socket": opa.socket, "timeout_ms": 2000}} | sections
        )
        for key in (settings.ledger.record_key, settings.ledger.log_key):
            keys.ensure(settings.path(key))
        shadow = Shadow(settings.shadow.scope, settings.shadow.versions)
        policy = open_stage(settings, activated=shadow.activated)
        await policy.start()
        ledger = open_ledger(settings, on_failure=lambda: None, observed=Observed(), disk=disk)
        made = CheckWorker(settings, issuer, policy, ledger, shadow)
        try:
            yield made
        finally:
            await ledger.close()
            await policy.stop()
    made.audit()


def message(
    *,
    token: str = "",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    raw: bool = True,
    pseudo: bool = True,
    **http: Any,
) -> CheckRequest:
    """A GET of https://api.example/v1 as Envoy asks about it. `raw`: with `encode_raw_headers` and
    `pack_as_bytes`, otherwise as text. `pseudo`: the request line stands among the headers, too.
    """
    request = CheckRequest()
    source = request.attributes.source.address.socket_address
    source.address, source.port_value = "10.0.0.7", 40001
    plain = {"id": "r-1", "method": "GET", "path": "/v1", "host": "api.example", "scheme": "https"}
    target = request.attributes.request.http
    for name, value in (plain | {"protocol": "HTTP/2", "size": len(body)} | http).items():
        setattr(target, name, value)
    line = {":authority": "host", ":method": "method", ":path": "path", ":scheme": "scheme"}
    given = {name: getattr(target, field) for name, field in line.items()} if pseudo else {}
    given |= {"x-aegis-agent-token": token} if token else {}
    for name, value in (given | dict(headers or {})).items():
        add_header(request, name, value, raw=raw)
    if raw:
        target.raw_body = body
    else:
        target.body = body.decode()
    return request


def add_header(request: CheckRequest, name: str, value: str | bytes, *, raw: bool = True) -> None:
    target = request.attributes.request.http
    if raw:
        header = target.header_map.headers.add(key=name)
        header.raw_value = value if isinstance(value, bytes) else value.encode()
    else:
        assert isinstance(value, str)
        target.headers[name] = value


def read_answer(data: bytes) -> Answer:
    """What Envoy reads: status 0 lets the request through whatever else the response says."""
    response = CheckResponse.FromString(data)
    if response.status.code == 0:
        ok = response.ok_response
        assert response.WhichOneof("http_response") == "ok_response"
        return Answer(True, 200, _headers(ok.headers), tuple(ok.headers_to_remove), None)
    assert response.WhichOneof("http_response") == "denied_response"
    denied = response.denied_response
    body = json.loads(denied.body) if denied.body else None
    return Answer(False, denied.status.code, _headers(denied.headers), (), body)


def _headers(options: Any) -> dict[str, str]:
    return {option.header.key: option.header.value for option in options}
