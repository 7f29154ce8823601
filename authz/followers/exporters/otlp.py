"""Records as OpenTelemetry logs over gRPC: one LogsService/Export a batch, acknowledged before the cursor
moves.

    resource   service.name, service.namespace (deployment), service.instance.id (worker)
    record     time, severity, event name `aegis.<kind>`, trace and span id; body: the entry's bytes as text;
               attributes `aegis.<member>` for what people search by

In: batches. Out: requests (opentelemetry.proto.collector.logs.v1). Called by the runner. There is no SDK and
no queue here, since what waits in one is lost with the process. What the answers mean:

    OK                                  delivered; with `rejected_log_records` refused (DECISIONS.md)
    INVALID_ARGUMENT, or too large      refused: it is about these records
    anything else                       unavailable: about the collector, the way to it, or our access to it
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

from authz import __version__, given_files
from authz.config_exporters import OtlpExport
from authz.errors import ConfigError
from authz.followers.exporters.destination import Refused, Unavailable
from authz.followers.reading import Taken

METHOD: Final = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
MAX_HEADERS: Final = 32
# How long gRPC itself waits between connections, at most: its default of two minutes may outlast the outage.
CHANNEL: Final = (("grpc.initial_reconnect_backoff_ms", 250), ("grpc.max_reconnect_backoff_ms", 5000))
# As the span has them (telemetry/spans.py), and what tells records apart: members that are text or numbers.
ATTRIBUTES: Final = tuple(
    "kind log seq decision_id agent_id parent_agent_id identity_assurance tool action category sensitivity "
    "method endpoint params_hash policy_version decision policy_decision mode reason_code rule approval_id "
    "request_id session_id".split()
)
_WARNING_KINDS: Final = frozenset(("gap", "late_sync", "recovery"))
_TOO_LARGE: Final = re.compile(r"larger than max|too large|exceeds", re.IGNORECASE)
_HEADER: Final = re.compile(r"([a-z0-9._-]{1,64}): ?([\x20-\x7e]*)")


class Otlp:
    """A Destination. Make it in a running event loop. Raises ConfigError for a file that cannot be used."""

    name = "otlp"
    size = 1 << 20

    def __init__(self, settings: OtlpExport, deployment: str, state: Path) -> None:
        self.entries = settings.batch
        self._deployment, self._timeout_s = deployment, settings.timeout_s
        self._headers = _headers(state / settings.headers) if settings.headers else ()
        self._channel = _channel(settings, state)
        self._export = self._channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)

    async def deliver(self, worker: str, batch: Sequence[Taken]) -> None:
        """Raises Refused, Unavailable."""
        request = encode(batch, self._deployment, worker).SerializeToString()
        try:
            answer = await self._export(request, timeout=self._timeout_s, metadata=self._headers)
            said = ExportLogsServiceResponse.FromString(answer).partial_success
        except grpc.aio.AioRpcError as error:
            raise _meaning(error, self._headers) from None
        except DecodeError:
            raise Unavailable("the answer is not an ExportLogsServiceResponse") from None
        if said.rejected_log_records:
            what = f"{said.rejected_log_records} of {len(batch)} rejected"
            raise Refused(f"{what}: {said.error_message}")

    async def close(self) -> None:
        await self._channel.close(None)


def encode(batch: Sequence[Taken], deployment: str, worker: str) -> ExportLogsServiceRequest:
    """The request for entries of one worker."""
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    named = {
        "service.name": "aegis",
        "service.namespace": deployment,
        "service.instance.id": worker,
        "service.version": __version__,
    }
    resource.resource.attributes.extend(_attribute(name, value) for name, value in named.items())
    logs = resource.scope_logs.add()
    logs.scope.name = "aegis.ledger"
    logs.log_records.extend(map(record, batch))
    return request


def record(taken: Taken) -> LogRecord:
    """One entry. `aegis.entry_hash` tells it from every other, also where there is no decision_id."""
    members = taken.members
    when = datetime.fromisoformat(members["timestamp"])
    nanoseconds = int(when.timestamp()) * 1_000_000_000 + when.microsecond * 1000
    warns = members["kind"] in _WARNING_KINDS or members.get("decision", "allow") != "allow"
    level = SeverityNumber.SEVERITY_NUMBER_WARN if warns else SeverityNumber.SEVERITY_NUMBER_INFO
    attributes = [_attribute(f"aegis.{name}", members[name]) for name in ATTRIBUTES if name in members]
    attributes.append(_attribute("aegis.entry_hash", taken.entry_hash))
    return LogRecord(
        time_unix_nano=nanoseconds,
        observed_time_unix_nano=nanoseconds,
        severity_number=level,
        severity_text="WARN" if warns else "INFO",
        event_name=f"aegis.{members['kind']}",
        body=AnyValue(string_value=taken.entry.decode()),
        attributes=attributes,
        trace_id=_id(members.get("trace_id"), 16),
        span_id=_id(members.get("span_id"), 8),
    )


def _attribute(name: str, value: Any) -> KeyValue:
    if type(value) is int:
        return KeyValue(key=name, value=AnyValue(int_value=value))
    return KeyValue(key=name, value=AnyValue(string_value=str(value)))


def _id(text: Any, size: int) -> bytes:
    """The bytes of a hex id, empty for what is not one of `size` bytes."""
    if not isinstance(text, str) or not re.fullmatch(f"[0-9a-f]{{{2 * size}}}", text):
        return b""
    return bytes.fromhex(text)


def _meaning(error: grpc.aio.AioRpcError, headers: Sequence[tuple[str, str]]) -> Refused | Unavailable:
    said = f"{error.code().name}: {error.details() or ''}"
    for _, value in headers:  # a collector may quote what it was sent
        said = said.replace(value, "[header]") if value else said
    too_large = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE.search(said)
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT or too_large:
        return Refused(said)
    return Unavailable(said, _asked_to_wait(error))


def _asked_to_wait(error: grpc.aio.AioRpcError) -> float:
    """Seconds of a google.rpc.RetryInfo in the status details (OTLP, "Throttling"), else 0."""
    trailing: Any = error.trailing_metadata()  # its stubs know no way to read it
    for name, value in trailing or ():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            return _retry_delay(value)
    return 0.0


def _retry_delay(details: bytes) -> float:
    try:
        for detail in Status.FromString(details).details:
            info = RetryInfo()
            if detail.Unpack(info):
                return max(0.0, float(info.retry_delay.ToMicroseconds()) / 1e6)
    except (DecodeError, ValueError):
        pass
    return 0.0


def _channel(settings: OtlpExport, state: Path) -> grpc.aio.Channel:
    target = settings.endpoint
    if target.startswith("unix:"):
        target = f"unix:{(state / target.removeprefix('unix:')).absolute()}"
    if settings.ca is None:
        return grpc.aio.insecure_channel(target, CHANNEL)
    certificate = given_files.read(state / settings.certificate) if settings.certificate else None
    key = given_files.read_private(state / settings.key) if settings.key else None
    credentials = grpc.ssl_channel_credentials(given_files.read(state / settings.ca), key, certificate)
    return grpc.aio.secure_channel(target, credentials, CHANNEL)


def _headers(file: Path) -> tuple[tuple[str, str], ...]:
    """The headers in `file`. Raises ConfigError naming file and line, never a value."""
    headers: list[tuple[str, str]] = []
    for number, row in enumerate(given_files.read_private(file).decode("latin-1").splitlines(), start=1):
        found = _HEADER.fullmatch(row)
        if not found or len(headers) == MAX_HEADERS or found[1].endswith("-bin"):
            raise ConfigError(f"{file}:{number}: not `name: value`, or more than {MAX_HEADERS}")
        headers.append((found[1], found[2]))
    return tuple(headers)
