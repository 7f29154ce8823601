"""Receipt -> CheckResponse: the only place that writes what Envoy is told.

Called by `service.py`. An allow is written from a Receipt whose ruling allows, and from nothing else;
`refusal`, which needs no Receipt, cannot express one. Envoy lets a request through when status.code is 0,
whatever else the response says, so code and body are set together here. Denials are RFC 9457 problems; to an
MCP client the same problem is the `data` of a JSON-RPC error, for it shows its caller nothing else.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson
from msgspec.structs import replace

from authz._pb import aegis_ext_authz_pb2 as pb
from authz.protocols.claims import HEADERS
from authz.values import Decision, Malformed, Mcp, Reason, Receipt, Request

DECISION_ID: Final = "x-aegis-decision-id"
TOKEN: Final = "x-aegis-agent-token"  # noqa: S105 - a header's name
OURS: Final = "x-aegis-"
OK: Final = 0  # google.rpc.Code
PERMISSION_DENIED: Final = 7
UNAVAILABLE: Final = 14
UNAUTHENTICATED: Final = 16
RETRY_AFTER_S: Final = "1"
# JSON-RPC's code for a denial: of those that MCP leaves to implementations, one that its SDKs do not use.
DENIED: Final = -32010
_DETAILS: Final = {
    400: "The request cannot be read in exactly one way.",
    401: "It is not established who asks.",
    403: "Policy does not permit this request now.",
    413: "The request is larger than the limit.",
    503: "No decision could be made and recorded; try again later.",
}
# The members that every denial with this status has; 403 stands for statuses that are not among them.
_PROBLEMS: Final = {
    status: {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    for status, detail in _DETAILS.items()
}
_CODES: Final = {401: UNAUTHENTICATED, 503: UNAVAILABLE}
_CLAIMS: Final = tuple(sorted(HEADERS))
_CLAIMED: Final = frozenset(_CLAIMS)
_OVERWRITE: Final = pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


# What stands in a form where a receipt's own values go; no value that was ever read looks like these.
_ID: Final = "\x01" * 64
_HASH: Final = "\x02" * 64
_SEQ: Final = -7.064371934825e-291
MAX_FORMS: Final = 256  # logs and reason codes: policies bring their own


class Form:
    """A serialised answer with places for decision id, seq and entry hash, whose lengths never change."""

    def __init__(self, marked: bytes, decision_id: str) -> None:
        marks = {decision_id.encode(): 0, struct.pack("<d", _SEQ): 1, _HASH.encode(): 2}
        parts = re.split(b"(" + b"|".join(map(re.escape, marks)) + b")", marked)
        self._parts = parts
        self._places = [(number, marks[part]) for number, part in enumerate(parts) if part in marks]

    def filled(self, receipt: Receipt) -> bytes:
        """The answer that names `receipt`'s record."""
        values = (
            receipt.decision_id.encode(),
            struct.pack("<d", receipt.seq),
            receipt.entry_hash.encode(),
        )
        parts = self._parts.copy()
        for number, which in self._places:
            parts[number] = values[which]
        return b"".join(parts)


class Replies:
    """Writes answers as the settings want them. `credentials` are header names that never go upstream."""

    def __init__(self, *, full: bool, credentials: Iterable[str]) -> None:
        self._full = full
        self._removed = sorted({TOKEN, "proxy-authorization", *credentials})
        self._forms: dict[tuple[str, str, str, int, bool], Form] = {}

    def reply(self, receipt: Receipt, request: Request | Malformed) -> bytes:
        """The answer to a decision that has its record."""
        if receipt.ruling.allowed and isinstance(request, Request):
            # Envoy removes after it has set: our own header is overwritten instead.
            sent = [name for name in request.headers if name[:8] == OURS and name not in (TOKEN, DECISION_ID)]
            if not sent:
                return self._usual(receipt, ())
            # A form of all claims serves whoever makes some; to remove what is not there does nothing.
            return self._usual(receipt, _CLAIMS) if _CLAIMED.issuperset(sent) else self._allow(receipt, sent)
        response = pb.CheckResponse()
        self._deny(response, receipt, request.mcp)
        describe(response.dynamic_metadata.fields, receipt)
        return bytes(response.SerializeToString())

    def _usual(self, receipt: Receipt, sent: tuple[str, ...]) -> bytes:
        """An allow as most are: from the form that was made when the first one like it was answered."""
        ruling = receipt.ruling
        like = (receipt.log, ruling.mode, ruling.reason_code, len(receipt.decision_id), bool(sent))
        form = self._forms.get(like)
        if form is None:
            if len(self._forms) >= MAX_FORMS:
                return self._allow(receipt, sent)
            marked = replace(receipt, seq=_SEQ, entry_hash=_HASH, decision_id=_ID[: like[3]])
            form = self._forms[like] = Form(self._allow(marked, sent), marked.decision_id)
        return form.filled(receipt)

    def _allow(self, receipt: Receipt, sent: Sequence[str]) -> bytes:
        response = pb.CheckResponse()
        response.status.code = OK
        allowed = response.ok_response
        add_header(allowed.headers, DECISION_ID, receipt.decision_id)
        add_header(allowed.response_headers_to_add, DECISION_ID, receipt.decision_id)
        allowed.headers_to_remove.extend((*self._removed, *sent))
        describe(response.dynamic_metadata.fields, receipt)
        return bytes(response.SerializeToString())

    def _deny(self, response: Any, receipt: Receipt, mcp: Mcp | None) -> None:
        ruling = receipt.ruling
        problem: dict[str, Any] = {
            "decision": ruling.decision,
            "reason_code": ruling.reason_code,
            "decision_id": receipt.decision_id,
        }
        if self._full:
            problem |= {"rule": ruling.verdict.rule, "rationale": ruling.verdict.rationale}
        _deny(response, ruling.http_status, problem, mcp)
        add_header(response.denied_response.headers, DECISION_ID, receipt.decision_id)


def refusal(reason: Reason, mcp: Mcp | None = None) -> bytes:
    """The answer when there is no record: always a denial, and nothing that names a record."""
    response = pb.CheckResponse()
    _deny(response, reason.http_status, {"decision": Decision.DENY, "reason_code": reason}, mcp)
    response.dynamic_metadata.fields["decision"].string_value = Decision.DENY
    response.dynamic_metadata.fields["reason_code"].string_value = reason
    return response.SerializeToString()


def _deny(response: Any, status: int, members: dict[str, Any], mcp: Mcp | None) -> None:
    """Status, code and body of a denial: the code is never 0, the status always one of an error."""
    if status not in _PROBLEMS:
        status = HTTPStatus.FORBIDDEN
    response.status.code = _CODES.get(status, PERMISSION_DENIED)
    denied = response.denied_response
    denied.status.code = status
    problem = _PROBLEMS[status] | members
    rpc = mcp is not None and mcp.message in ("request", "")  # to the others no JSON-RPC answer is due
    denied.body = orjson.dumps(_rpc_error(mcp, problem) if rpc else problem).decode()
    add_header(denied.headers, "content-type", "application/json" if rpc else "application/problem+json")
    add_header(denied.headers, "cache-control", "no-store")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        add_header(denied.headers, "retry-after", RETRY_AFTER_S)
    if status == HTTPStatus.UNAUTHORIZED:
        add_header(denied.headers, "www-authenticate", 'Bearer realm="aegis"')


def _rpc_error(mcp: Mcp | None, problem: dict[str, Any]) -> dict[str, Any]:
    """A JSON-RPC error (section 5.1) with the request's own id, null where it has none that is valid."""
    why = [problem["detail"], *problem.get("rationale", ())]
    where = (
        f" Record: {problem['decision_id']}." if "decision_id" in problem else " There is no record of it."
    )
    message = f"Aegis: {problem['decision']}, {problem['reason_code']}. {'; '.join(why)}{where}"
    error = {"code": DENIED, "message": message, "data": problem}
    return {"jsonrpc": "2.0", "id": mcp.rpc_id if mcp else None, "error": error}


def add_header(headers: Any, name: str, value: str) -> None:
    """One of ours: it takes the place of any other of its name."""
    option = headers.add()
    option.header.key = name
    option.header.value = value
    option.append_action = _OVERWRITE


def describe(fields: Any, receipt: Receipt) -> None:
    """Dynamic metadata: what an access log needs to be joined with the record."""
    fields["decision_id"].string_value = receipt.decision_id
    fields["decision"].string_value = receipt.ruling.decision
    fields["reason_code"].string_value = receipt.ruling.reason_code
    fields["log"].string_value = receipt.log
    fields["seq"].number_value = receipt.seq
    fields["entry_hash"].string_value = receipt.entry_hash
