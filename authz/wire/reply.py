"""Receipt -> CheckResponse: the only place that writes what Envoy is told.

Called by `service.py`. An allow is written from a Receipt whose ruling allows, and from nothing else;
`refusal`, which needs no Receipt, cannot express one. Envoy lets a request through when status.code is 0,
whatever else the response says, so code and body are set together here. Denials are RFC 9457 problems.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

import orjson

from authz._pb import aegis_ext_authz_pb2 as pb
from authz.values import Decision, Malformed, Reason, Receipt, Request

DECISION_ID: Final = "x-aegis-decision-id"
TOKEN: Final = "x-aegis-agent-token"  # noqa: S105 - a header's name
OURS: Final = "x-aegis-"
OK: Final = 0  # google.rpc.Code
PERMISSION_DENIED: Final = 7
UNAVAILABLE: Final = 14
UNAUTHENTICATED: Final = 16
RETRY_AFTER_S: Final = "1"
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
_OVERWRITE: Final = pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


class Replies:
    """Writes answers as the settings want them. `credentials` are header names that never go upstream."""

    def __init__(self, *, full: bool, credentials: Iterable[str]) -> None:
        self._full = full
        self._removed = sorted({TOKEN, "proxy-authorization", *credentials})

    def reply(self, receipt: Receipt, request: Request | Malformed) -> bytes:
        """The answer to a decision that has its record."""
        response = pb.CheckResponse()
        if receipt.ruling.allowed and isinstance(request, Request):
            self._allow(response, receipt, request)
        else:
            self._deny(response, receipt)
        _describe(response.dynamic_metadata.fields, receipt)
        return response.SerializeToString()

    def _allow(self, response: Any, receipt: Receipt, request: Request) -> None:
        response.status.code = OK
        allowed = response.ok_response
        _add(allowed.headers, DECISION_ID, receipt.decision_id)
        _add(allowed.response_headers_to_add, DECISION_ID, receipt.decision_id)
        allowed.headers_to_remove.extend(self._removed)
        for name in request.headers:
            # Envoy removes after it has set: our own header is overwritten instead.
            if name.startswith(OURS) and name not in (TOKEN, DECISION_ID):
                allowed.headers_to_remove.append(name)

    def _deny(self, response: Any, receipt: Receipt) -> None:
        ruling = receipt.ruling
        problem: dict[str, Any] = {
            "decision": ruling.decision,
            "reason_code": ruling.reason_code,
            "decision_id": receipt.decision_id,
        }
        if self._full:
            problem |= {"rule": ruling.verdict.rule, "rationale": ruling.verdict.rationale}
        _deny(response, ruling.http_status, problem)
        _add(response.denied_response.headers, DECISION_ID, receipt.decision_id)


def refusal(reason: Reason) -> bytes:
    """The answer when there is no record: always a denial, and nothing that names a record."""
    response = pb.CheckResponse()
    _deny(response, reason.http_status, {"decision": Decision.DENY, "reason_code": reason})
    response.dynamic_metadata.fields["decision"].string_value = Decision.DENY
    response.dynamic_metadata.fields["reason_code"].string_value = reason
    return response.SerializeToString()


def _deny(response: Any, status: int, members: dict[str, Any]) -> None:
    """Status, code and body of a denial: the code is never 0, the status always one of an error."""
    if status not in _PROBLEMS:
        status = HTTPStatus.FORBIDDEN
    response.status.code = _CODES.get(status, PERMISSION_DENIED)
    denied = response.denied_response
    denied.status.code = status
    denied.body = orjson.dumps(_PROBLEMS[status] | members).decode()
    _add(denied.headers, "content-type", "application/problem+json")
    _add(denied.headers, "cache-control", "no-store")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        _add(denied.headers, "retry-after", RETRY_AFTER_S)
    if status == HTTPStatus.UNAUTHORIZED:
        _add(denied.headers, "www-authenticate", 'Bearer realm="aegis"')


def _add(headers: Any, name: str, value: str) -> None:
    option = headers.add()
    option.header.key = name
    option.header.value = value
    option.append_action = _OVERWRITE


def _describe(fields: Any, receipt: Receipt) -> None:
    """Dynamic metadata: what an access log needs to be joined with the record."""
    fields["decision_id"].string_value = receipt.decision_id
    fields["decision"].string_value = receipt.ruling.decision
    fields["reason_code"].string_value = receipt.ruling.reason_code
    fields["log"].string_value = receipt.log
    fields["seq"].number_value = receipt.seq
    fields["entry_hash"].string_value = receipt.entry_hash
