"""Access log entries and messages as Envoy sends them, and as a faulty or hostile sender could."""

from __future__ import annotations

from typing import Any

from google.protobuf.struct_pb2 import Struct

from authz._pb import aegis_access_log_pb2 as pb
from authz.wire.accesslog import METADATA

LOG = "aegis.test/worker-0/20260101T000000Z-0000000000000000"
HASH = "ab" * 32
STARTED = 1_767_225_600  # 2026-01-01T00:00:00Z


def decision_id(number: int) -> str:
    return f"019b7690-{number % 65536:04x}-7000-8000-{number:012x}"


def said(number: int, **fields: Any) -> bytes:
    """What Check put into the dynamic metadata for decision `number`, with `fields` in place of its own."""
    struct = Struct()
    given = {
        "decision_id": decision_id(number),
        "decision": "allow",
        "reason_code": "permitted",
        "log": LOG,
        "seq": number,
        "entry_hash": HASH,
    } | fields
    struct.update({name: value for name, value in given.items() if value is not None})
    return struct.SerializeToString()


def entry(number: int = 1, metadata: bytes | None = None, *, decided: bool = True) -> Any:
    """A GET that was forwarded and answered 200; its decision is `number`, unless there was none."""
    made = pb.HTTPAccessLogEntry(protocol_version=2)
    common, request, response = made.common_properties, made.request, made.response
    common.start_time.FromMicroseconds(STARTED * 1_000_000 + number)
    common.duration.FromMicroseconds(5000)
    common.time_to_first_upstream_tx_byte.FromMicroseconds(1000)
    common.time_to_first_upstream_rx_byte.FromMicroseconds(4000)
    common.time_to_last_upstream_rx_byte.FromMicroseconds(4500)
    address = common.upstream_remote_address.socket_address
    address.address, address.port_value = b"192.0.2.7", 443
    common.upstream_cluster, common.stream_id = b"sample", b"stream-%d" % number
    request.request_method, request.scheme, request.authority = 1, b"https", b"api.example"
    request.path, request.request_id = b"/v1/things?token=geheim", b"request-%d" % number
    request.request_headers_bytes, request.request_body_bytes = 300, 12
    response.response_code.value, response.response_code_details = 200, b"via_upstream"
    response.response_headers_bytes, response.response_body_bytes = 150, 4096
    if decided:
        common.metadata.filter_metadata[METADATA] = said(number) if metadata is None else metadata
    return made


def message(*entries: Any, node: bytes = b"egress-1") -> bytes:
    """One StreamAccessLogsMessage; an entry may be bytes that are none."""
    made = pb.StreamAccessLogsMessage()
    made.identifier.node.id, made.identifier.log_name = node, b"egress"
    made.http_logs.log_entry.extend(
        each if isinstance(each, bytes) else each.SerializeToString() for each in entries
    )
    return made.SerializeToString()
