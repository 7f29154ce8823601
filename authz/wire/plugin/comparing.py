"""What opa-envoy-plugin and this program answer to the same request, and where the answers differ.

In: the plugin's address; settings with `policy.compat`, and an OPA that has the policy; then CheckRequests.
Out: an Outcome of both for each, and the fields that differ. Called by `aegis policy compare`. It decides
with the worker's own parts, but without a ledger: nothing is recorded, so nothing of it may reach an Envoy.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import grpc
from google.protobuf.json_format import MessageToDict
from msgspec import Struct

from authz._pb import aegis_ext_authz_pb2 as pb
from authz.config import Settings
from authz.controls.shadow import Shadow
from authz.pipeline import Authorizer, Decided
from authz.policy.stage import PolicyStage
from authz.values import Request, Subject
from authz.wire.plugin.document import PARSE_ERROR
from authz.wire.plugin.reading import PluginReader
from authz.wire.plugin.replies import PluginReplies
from authz.wire.reply import DECISION_ID, OURS

METHOD: Final = "/envoy.service.auth.v3.Authorization/Check"
TIMEOUT_S: Final = 10.0
UNANSWERED: Final = "no answer"  # a gRPC error: Envoy's failure_mode_allow decides
UNPARSED: Final = "unparsed"
FIELDS: Final = (
    "decision",
    "http_status",
    "body",
    "headers",
    "request_headers_to_remove",
    "response_headers_to_add",
    "query_parameters_to_set",
    "query_parameters_to_remove",
    "dynamic_metadata",
)
_OUR_METADATA: Final = ("decision_id", "decision", "reason_code", "log", "seq", "entry_hash")
_OUR_REMOVALS: Final = ("proxy-authorization",)  # and every name of ours


class Outcome(Struct, frozen=True):
    """What an answer means to Envoy, by FIELDS. `said`: the error, or the reason code of ours."""

    fields: dict[str, Any]
    said: str = ""


class Unreachable(Exception):
    """Nothing answers at the plugin's address."""


class Plugin:
    """A running opa-envoy-plugin at `HOST:PORT` or `unix:PATH`."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._check = self._channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)

    async def ask(self, message: bytes) -> Outcome:
        """Raises Unreachable."""
        try:
            answer = await self._check(message, timeout=TIMEOUT_S, wait_for_ready=False)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED):
                raise Unreachable(f"{error.code().name}: {error.details()}") from None
            return Outcome({"decision": UNANSWERED}, error.code().name)
        return outcome(pb.CheckResponse.FromString(answer))

    async def close(self) -> None:
        await self._channel.close(None)


class Ours:
    """The worker's parts behind `stage`, which is started. `identify` as `Identifier.identify`."""

    def __init__(
        self, settings: Settings, stage: PolicyStage, identify: Callable[[Request], Subject], shadow: Shadow
    ) -> None:
        """Raises ConfigError."""
        self._limits = settings.limits
        self._reader = PluginReader(settings.policy.plugin, settings.state)
        self._replies = PluginReplies(full=False, credentials=())
        self._authorizer = Authorizer(
            identify=identify,
            policy=stage,
            ledger=_Unwritten(),
            now=lambda: datetime.now(UTC),
            new_id=lambda: "00000000-0000-7000-8000-000000000000",
            timeout_s=TIMEOUT_S,
            reply_after="bounded",
            observer=_Unwatched(),
            shadow=shadow,
        )

    async def ask(self, message: bytes) -> Outcome:
        request = self._reader.read(message, self._limits, "", lambda: "0" * 32)
        receipt = await self._authorizer.decide(request)
        answer = pb.CheckResponse.FromString(self._replies.reply(receipt, request))
        found = outcome(answer, ours=True)
        return Outcome(found.fields, str(receipt.ruling.reason_code))


class _Unwritten:
    """In the place of a ledger and of what it wrote."""

    log, seq, entry_hash = "", 0, ""

    def append(
        self, kind: str, members: dict[str, Any], *, synced: bool, disclosures: tuple[str, ...] = ()
    ) -> Future[Any]:
        done: Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(self)
        return done


class _Unwatched:
    def decided(self, decision: Decided) -> None: ...

    def unheard(self, decision: Decided) -> None: ...


def outcome(answer: Any, *, ours: bool = False) -> Outcome:
    """Of a CheckResponse, without what every answer of `ours` has beside policy's own."""
    denied = answer.denied_response
    if denied.body.startswith(PARSE_ERROR) and denied.status.code == 400:
        return Outcome({"decision": UNPARSED, "http_status": 400})
    metadata = MessageToDict(answer.dynamic_metadata)
    for name in _OUR_METADATA if ours else ("decision_id",):
        metadata.pop(name, None)
    if answer.status.code:
        found: dict[str, Any] = {
            "decision": "deny",
            "http_status": denied.status.code or 403,
            "body": denied.body,
            "headers": _headers(denied.headers),
        }
    else:
        allowed = answer.ok_response
        removed = {name.lower() for name in allowed.headers_to_remove if not name.lower().startswith(OURS)}
        found = {
            "decision": "allow",
            "headers": _headers(allowed.headers),
            "request_headers_to_remove": sorted(removed.difference(_OUR_REMOVALS)),
            "response_headers_to_add": _headers(allowed.response_headers_to_add),
            "query_parameters_to_set": _pairs(allowed.query_parameters_to_set),
            "query_parameters_to_remove": sorted(allowed.query_parameters_to_remove),
        }
    found["dynamic_metadata"] = metadata
    return Outcome({name: value for name, value in found.items() if value})


def _headers(options: Any) -> dict[str, list[str]]:
    """Names are the same in any case, and so are values with blanks around them."""
    found: dict[str, list[str]] = {}
    for option in options:
        name = option.header.key.lower()
        if name != DECISION_ID:
            found.setdefault(name, []).append(option.header.value.strip(" \t"))
    return found


def _pairs(parameters: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for parameter in parameters:
        found.setdefault(parameter.key, []).append(parameter.value)
    return found


def differing(plugin: Outcome, ours: Outcome) -> list[str]:
    """The fields, in the order of FIELDS; only the first where the decisions differ."""
    one, other = plugin.fields, ours.fields
    if one["decision"] != other["decision"]:
        return ["decision"]
    return [name for name in FIELDS if one.get(name) != other.get(name)]


def described(plugin: Outcome, ours: Outcome) -> str:
    """What differs, by names only."""
    fields = differing(plugin, ours)
    one, other = plugin.fields["decision"], ours.fields["decision"]
    if fields == ["decision"]:
        why = f" ({plugin.said})" if plugin.said else ""
        return f"decision: {one}{why} by the plugin, {other} ({ours.said}) by us"
    return f"{', '.join(fields)}: {one} by both"
