"""Receipt -> CheckResponse where policy was written for opa-envoy-plugin: its answer, and our ids beside it.

Called by `service.py` instead of `reply.Replies` where `policy.compat` is set. An allow is written from a
Receipt that allows, and from nothing else. What policy did not answer (identity, errors, faults of ours) is
denied as everywhere; a request that the plugin cannot parse either gets the plugin's words for it.

    allow    ok_response, its headers, removals and parameters   and `x-aegis-decision-id`, our removals
    shadow   ok_response as without any of them (`dry-run`)      the same
    denial   denied_response, its status, headers, body          and `x-aegis-decision-id`
    all      its dynamic metadata                                and ours under names that it does not use;
             `decision_id` is always ours, as it is always the plugin's there
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from authz._pb import aegis_ext_authz_pb2 as pb
from authz.values import Decision, Malformed, PluginAnswer, Receipt, Request
from authz.wire.plugin.document import PARSE_ERROR
from authz.wire.reply import DECISION_ID, OK, OURS, PERMISSION_DENIED, TOKEN, Replies, add_header, describe

_NOTHING: Final = PluginAnswer()
_NAME: Final = re.compile(r"[0-9a-z!#$%&'*+.^_`|~-]+")


class PluginReplies(Replies):
    """Writes answers as the settings want them, the policy's own as the policy wants them."""

    def reply(self, receipt: Receipt, request: Request | Malformed) -> bytes:
        """The answer to a decision that has its record."""
        answer = receipt.ruling.verdict.answer
        if isinstance(request, Malformed) and request.detail.startswith(PARSE_ERROR):
            response = self._unparsed(receipt, request.detail)
        elif isinstance(request, Malformed) or answer is None:
            return super().reply(receipt, request)
        elif receipt.ruling.allowed:
            enforced = receipt.ruling.decision is Decision.ALLOW
            response = self._allowed(receipt, request, answer if enforced else _NOTHING)
        elif receipt.ruling.reason_code != receipt.ruling.verdict.reason_code:
            return super().reply(receipt, request)  # policy allowed, and a control did not
        else:
            response = self._denied(receipt, answer)
        fields = response.dynamic_metadata.fields
        describe(fields, receipt)
        if answer is not None:
            _put(fields, answer.metadata)
        fields["decision_id"].Clear()
        fields["decision_id"].string_value = receipt.decision_id
        return bytes(response.SerializeToString())

    def _allowed(self, receipt: Receipt, request: Request, answer: PluginAnswer) -> pb.CheckResponse:
        response = pb.CheckResponse()
        response.status.code = OK
        allowed = response.ok_response
        _put_headers(allowed.headers, answer.headers)
        _put_headers(allowed.response_headers_to_add, answer.response_headers)
        add_header(allowed.headers, DECISION_ID, receipt.decision_id)
        add_header(allowed.response_headers_to_add, DECISION_ID, receipt.decision_id)
        sent = (name for name in request.headers if name.startswith(OURS) and _NAME.fullmatch(name))
        ours = [name for name in sent if name not in (TOKEN, DECISION_ID)]
        allowed.headers_to_remove.extend(dict.fromkeys((*answer.headers_to_remove, *self._removed, *ours)))
        for name, value in answer.query_to_set:
            allowed.query_parameters_to_set.add(key=name, value=value)
        allowed.query_parameters_to_remove.extend(answer.query_to_remove)
        return response

    def _denied(self, receipt: Receipt, answer: PluginAnswer) -> pb.CheckResponse:
        response = pb.CheckResponse()
        response.status.code = PERMISSION_DENIED
        denied = response.denied_response
        denied.status.code = answer.http_status
        denied.body = answer.body
        _put_headers(denied.headers, answer.headers)
        add_header(denied.headers, DECISION_ID, receipt.decision_id)
        return response

    def _unparsed(self, receipt: Receipt, said: str) -> pb.CheckResponse:
        response = pb.CheckResponse()
        response.status.code = PERMISSION_DENIED
        response.status.message = said
        response.denied_response.status.code = 400
        response.denied_response.body = said
        add_header(response.denied_response.headers, DECISION_ID, receipt.decision_id)
        return response


def _put_headers(headers: Any, pairs: Iterable[tuple[str, str]]) -> None:
    """Without append and append_action, as the plugin sends them: Envoy's defaults."""
    for name, value in pairs:
        option = headers.add()
        option.header.key = name
        option.header.value = value


def _put(fields: Any, members: dict[str, Any]) -> None:
    """JSON values as those of a google.protobuf.Struct, whose numbers are doubles."""
    for name, value in members.items():
        fields[name].Clear()
        _set(fields[name], value)


def _set(field: Any, value: Any) -> None:
    if value is None:
        field.null_value = 0
    elif isinstance(value, bool):
        field.bool_value = value
    elif isinstance(value, (int, float)):
        field.number_value = float(value)
    elif isinstance(value, str):
        field.string_value = value
    elif isinstance(value, list):
        field.list_value.SetInParent()
        for item in value:
            _set(field.list_value.values.add(), item)
    else:
        field.struct_value.SetInParent()
        _put(field.struct_value.fields, value)
