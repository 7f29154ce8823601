"""One entry of Envoy's access log -> an Outcome: what became of a request, without anything secret.

In: the bytes of an HTTPAccessLogEntry (envoy.data.accesslog.v3). Out: an Outcome whose `members` are those of
an `outcome` entry, None for an entry that is not the last of its request, or ValueError. Called by
`outcomes.py`. Of headers it takes only correlation ids whose names are in the settings, and of those only
what looks like one; never a query, and a path only where no decision holds it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote_from_bytes

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct as ProtoStruct
from msgspec import Struct

from authz._pb import aegis_access_log_pb2 as pb
from authz.controls.redaction import MASK, PLAIN, Redaction
from authz.protocols.trace import traceparent

METADATA: Final = "envoy.filters.http.ext_authz"  # where Envoy keeps what Check said of its record
TRACEPARENT: Final = "traceparent"
_MOST: Final = 256  # characters of a text that Envoy or a configuration chose
_MOST_PATH: Final = 512  # characters of the path of a request without a decision
_MOST_NUMBER: Final = 2**53 - 1  # of an entry's integers
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_USER: Final = re.compile(rb"//[^/]*@")
_DECISION_ID: Final = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
_LOG: Final = re.compile(r"([^\s+/\x00-\x1f]{1,255}/){2}[^\s+/\x00-\x1f]{1,255}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_CORRELATION: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_METHODS: Final = ("", *"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH".split())
_PROTOCOLS: Final = ("", "HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3")
# Envoy's own short names, by the number of the field in ResponseFlags.
FLAGS: Final = dict(
    enumerate(
        "LH UH UT LR UR UF UC UO NR DI FI RL UAEX RLSE DC URX SI IH DPE UMSDR RFCF NFCF DT UPE NC OM DF "
        "DR".split(),
        start=1,
    )
)


class Named(Struct, frozen=True):
    """The record that Check named in the request's dynamic metadata."""

    decision_id: str
    decision: str
    log: str
    seq: int
    entry_hash: str


class Outcome(Struct, frozen=True):
    """`identity` and `event` together are the same for an entry that is sent twice, and only then."""

    members: dict[str, Any]
    named: Named | None
    forwarded: bool  # something of the request was sent to an upstream
    identity: str
    event: tuple[int, int]  # nanoseconds: when it began, how long it took


def read(data: bytes, correlation: Sequence[str], redaction: Redaction = PLAIN) -> Outcome | None:
    """The outcome in `data`. `correlation` names the headers (lower case) whose values are kept as ids.

    Raises ValueError for what is not an entry, or holds numbers that none of ours can.
    """
    try:
        entry = pb.HTTPAccessLogEntry.FromString(data)
        common = entry.common_properties
        named = _named(common.metadata.filter_metadata)
    except DecodeError:
        raise ValueError("not an access log entry") from None
    if common.intermediate_log_entry:
        return None
    forwarded = common.HasField("time_to_first_upstream_tx_byte")
    members: dict[str, Any] = {"forwarded": forwarded}
    _put_decision(members, named, entry.request, redaction)
    _put_answer(members, entry)
    _put_times(members, common)
    _put_upstream(members, common)
    _put_correlation(members, entry, correlation, redaction)
    identity = named.decision_id if named else text(common.stream_id) or members.get("request_id", "")
    event = common.start_time.ToNanoseconds(), common.duration.ToNanoseconds()
    identity = identity or hashlib.sha256(data).hexdigest()
    return Outcome(members, named, forwarded, identity, event)


def _named(metadata: Mapping[str, bytes]) -> Named | None:
    """What Check said, if Envoy kept it whole; Check is not always heard, and others may use the name."""
    data = metadata.get(METADATA)
    if data is None:
        return None
    fields = ProtoStruct.FromString(data).fields
    given = {name: fields[name].string_value for name in ("decision_id", "decision", "log", "entry_hash")}
    seq = fields["seq"].number_value
    whole = (
        _DECISION_ID.fullmatch(given["decision_id"])
        and given["decision"].isidentifier()
        and _LOG.fullmatch(given["log"])
        and _HASH.fullmatch(given["entry_hash"])
        and seq.is_integer()
        and 0 <= seq <= _MOST_NUMBER
    )
    return Named(**given, seq=int(seq)) if whole else None


def _put_decision(members: dict[str, Any], named: Named | None, request: Any, redaction: Redaction) -> None:
    """Which record this is the outcome of; without one, what was asked for."""
    if named is not None:
        members["decision_id"] = named.decision_id
        members["decision_log"], members["decision_seq"] = named.log, named.seq
        members["decision_entry_hash"] = named.entry_hash
        return
    if 0 < request.request_method < len(_METHODS):
        members["method"] = _METHODS[request.request_method]
    host = text(request.authority.rpartition(b"@")[2]) or "unknown"
    path = re.split(rb"[?#]", _USER.sub(b"//", request.path), maxsplit=1)[0]
    members["endpoint"] = f"{text(request.scheme) or 'unknown'}://{host}" + redaction.path(
        text(path, _MOST_PATH)
    )


def _put_answer(members: dict[str, Any], entry: Any) -> None:
    request, response, flags = entry.request, entry.response, entry.common_properties.response_flags
    if response.HasField("response_code"):
        members["status"] = response.response_code.value
    if raised := [FLAGS[field.number] for field, _ in flags.ListFields()]:
        members["flags"] = raised
    if response.response_code_details:
        members["details"] = text(response.response_code_details)
    if 0 < entry.protocol_version < len(_PROTOCOLS):
        members["protocol"] = _PROTOCOLS[entry.protocol_version]
    sizes = {
        "request_bytes": request.request_body_bytes,
        "request_header_bytes": request.request_headers_bytes,
        "response_bytes": response.response_body_bytes,
        "response_header_bytes": response.response_headers_bytes,
    }
    if max(sizes.values()) > _MOST_NUMBER:
        raise ValueError("a size beyond 2^53")
    members |= sizes


def _put_times(members: dict[str, Any], common: Any) -> None:
    """When it began, and microseconds until its end and until the upstream's first and last byte."""
    started = common.start_time.ToMicroseconds()
    try:
        moment = datetime.fromtimestamp(started // 1_000_000, UTC).replace(microsecond=started % 1_000_000)
    except (ValueError, OverflowError, OSError):
        raise ValueError("start_time: no such time") from None
    members["started"] = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    for name, field in (
        ("duration_us", "duration"),
        ("upstream_first_us", "time_to_first_upstream_rx_byte"),
        ("upstream_last_us", "time_to_last_upstream_rx_byte"),
    ):
        if common.HasField(field):
            members[name] = max(0, min(getattr(common, field).ToMicroseconds(), _MOST_NUMBER))


def _put_upstream(members: dict[str, Any], common: Any) -> None:
    address = common.upstream_remote_address
    kind = address.WhichOneof("address")
    if kind == "socket_address":
        host = text(address.socket_address.address)
        shown = f"[{host}]" if ":" in host else host
        members["upstream"] = f"{shown}:{address.socket_address.port_value}"
    elif kind == "pipe":
        members["upstream"] = f"unix:{text(address.pipe.path)}"
    elif kind:
        members["upstream"] = f"internal:{text(address.envoy_internal_address.server_listener_name)}"
    for name, value in (("cluster", common.upstream_cluster), ("route", common.route_name)):
        if value:
            members[name] = text(value)
    if common.upstream_request_attempt_count > 1:
        members["attempts"] = common.upstream_request_attempt_count


def _put_correlation(members: dict[str, Any], entry: Any, names: Sequence[str], redaction: Redaction) -> None:
    """The ids by which others know the request. What does not look like one is masked, and named."""
    request, response = entry.request.request_headers, entry.response.response_headers
    if entry.request.request_id:
        members["request_id"] = text(entry.request.request_id)
    trace = traceparent(request.get(TRACEPARENT, b"").decode("latin-1"))
    if trace:
        members["trace_id"] = trace[0]
    masked: list[str] = []
    for side, headers in (("request", request), ("response", response)):
        found = {name: headers[name] for name in names if headers.get(name)}
        for name, value in found.items():
            whole = _CORRELATION.fullmatch(value)
            shown = redaction.path(value.decode()) if whole else MASK
            members.setdefault("correlation", {}).setdefault(side, {})[name] = shown
            if MASK in shown:
                masked.append(f"/correlation/{side}/{name}")
    if masked:
        members["redacted"] = masked


def text(data: bytes, most: int = _MOST) -> str:
    """The beginning of `data` with everything but visible ASCII escaped."""
    return quote_from_bytes(data[:most], safe=_VISIBLE)[:most]
