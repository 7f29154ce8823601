"""The JSON schema of the input document, made from the fields that there are.

In: `document.FIELDS`. Out: a schema (draft 7) for editors and `opa check --schema`, which then names a
misspelt `input.agnet.id`. Called by `aegis policy schema`, `aegis policy test` and whoever publishes.
`required` says what every whole document has; a question holds only what policy reads of it.
`rego/schemas/input.json` is this, and a test says so.
"""

from __future__ import annotations

import json
from typing import Any, Final

from authz.policy.document import FIELDS, WEEKDAYS
from authz.values import CLAIMS, Assurance

_Schema = dict[str, Any]
_Path = tuple[str, ...]

_TEXT: Final[_Schema] = {"type": "string"}
_INTEGER: Final[_Schema] = {"type": "integer"}
_BOOLEAN: Final[_Schema] = {"type": "boolean"}
_TEXTS: Final[_Schema] = {"type": "array", "items": _TEXT}
_TEXT_MAP: Final[_Schema] = {"type": "object", "additionalProperties": _TEXT}


def _of(description: str, schema: _Schema) -> _Schema:
    return {"description": description} | schema


def _one_of(*words: str) -> _Schema:
    return {"type": "string", "enum": list(words)}


def _object(members: dict[str, _Schema], required: list[str] | None = None) -> _Schema:
    said: _Schema = {"type": "object", "additionalProperties": False, "properties": members}
    return said | ({"required": required} if required else {})


def _peer() -> _Schema:
    socket = {"protocol": _of("1 is UDP; absent for TCP.", _INTEGER), "address": _TEXT}
    socket |= {"portValue": _INTEGER, "namedPort": _TEXT, "resolverName": _TEXT, "ipv4Compat": _BOOLEAN}
    socket |= {"networkNamespaceFilepath": _TEXT}
    internal = {"serverListenerName": _TEXT, "endpointId": _TEXT}
    address = {
        "socketAddress": _object(socket),
        "pipe": _object({"path": _TEXT, "mode": _INTEGER}),
        "envoyInternalAddress": _object(internal),
    }
    return _object(
        {
            "address": _object(address),
            "service": _TEXT,
            "labels": _TEXT_MAP,
            "principal": _of("What the peer's certificate says.", _TEXT),
            "certificate": _TEXT,
        }
    )


def _metadata() -> _Schema:
    typed = _object({"typeUrl": _TEXT, "value": _TEXT})
    return _object(
        {
            "filterMetadata": {"type": "object", "additionalProperties": {"type": "object"}},
            "typedFilterMetadata": {"type": "object", "additionalProperties": typed},
        }
    )


def _http() -> _Schema:
    rows = _object({"key": _TEXT, "value": _TEXT, "rawValue": _TEXT})
    return _object(
        {
            "id": _TEXT,
            "method": _TEXT,
            "headers": _of("By lower-case names; the agent chooses them.", _TEXT_MAP),
            "path": _of("Normalised, with the query.", _TEXT),
            "host": _of("The authority; `input.destination.host` is without the port.", _TEXT),
            "scheme": _TEXT,
            "query": _TEXT,
            "fragment": _TEXT,
            "size": _INTEGER,
            "protocol": _TEXT,
            "body": _of("As text, whatever it is.", _TEXT),
            "rawBody": _of("In base64.", _TEXT),
            "headerMap": _object({"headers": {"type": "array", "items": rows}}),
        }
    )


def _attributes() -> _Schema:
    moment = _object({"seconds": _INTEGER, "nanos": _INTEGER})
    return _object(
        {
            "source": _peer(),
            "destination": _peer(),
            "request": _object({"time": moment, "http": _http()}),
            "contextExtensions": _of("What Envoy's route says; not the agent.", _TEXT_MAP),
            "metadataContext": _metadata(),
            "tlsSession": _object({"sni": _TEXT}),
            "routeMetadataContext": _metadata(),
        }
    )


# Each field of the document, and of those that are objects here each member.
_FORMS: Final[dict[_Path, _Schema]] = {
    ("attributes",): _of("Envoy's AttributeContext in opa-envoy-plugin's form.", _attributes()),
    ("parsed_path",): _of("Segments, percent-decoded once.", _TEXTS),
    ("parsed_query",): _of(
        "Every name with all its values.", {"type": "object", "additionalProperties": _TEXTS}
    ),
    ("parsed_body",): _of("JSON, a form's lists of values, or null. Look at `action.body` first.", {}),
    ("truncated_body",): _of("Whether there is only a part of the body.", _BOOLEAN),
    ("version", "ext_authz"): _TEXT,
    ("version", "encoding"): _TEXT,
    ("agent", "id"): _TEXT,
    ("agent", "chain"): _of("Whom it acts for, nearest caller first.", _TEXTS),
    ("agent", "assurance"): _one_of(*Assurance),
    ("agent", "claims"): _of("Of its token: which there are depends on who issued it.", {"type": "object"}),
    ("action", "kind"): _one_of("http", "tunnel", "mcp"),
    ("action", "tool"): _of("What Envoy's route calls it; empty when it does not.", _TEXT),
    ("action", "method"): _TEXT,
    ("action", "resource"): _of("The normalised path without the query.", _TEXT),
    ("action", "arguments"): _of(
        "The parsed body; of an MCP message the arguments of `tools/call`, or the params. "
        "Absent unless `body` is `parsed`.",
        {},
    ),
    ("action", "body"): _of(
        "Whether there is a body, and whether it was read.", _one_of("none", "parsed", "opaque")
    ),
    ("mcp", "message"): _one_of("request", "notification", "response", "error", "stream", "end"),
    ("mcp", "method"): _of("`tools/call`; absent from answers, streams and ends.", _TEXT),
    ("mcp", "name"): _of("Of the tool or prompt, or the URI of the resource.", _TEXT),
    ("mcp", "version"): _of("The protocol revision; absent before it is agreed upon.", _TEXT),
    ("mcp", "fault"): _of("A reason code of the authorizer's own.", _TEXT),
    ("destination", "host"): _of("Lower-case, without port and trailing dot.", _TEXT),
    ("destination", "port"): _INTEGER,
    ("destination", "scheme"): _TEXT,
    ("destination", "sni"): _of("Empty where there is none.", _TEXT),
    ("session", "id"): _of("Empty where there is none.", _TEXT),
    ("session", "identified"): _of("Whether there is an id: the same for all sessions.", _BOOLEAN),
    ("session", "labels"): _TEXTS,
    ("context", "claimed"): _of(
        "The names of what it says: the same for equal callers, so verdicts are kept.", _TEXTS
    ),
    ("context", "malformed"): _of("The names of what it says in another form than documented.", _TEXTS),
    **{("context", name): _TEXT for name in CLAIMS},
    ("now", "weekday"): _one_of(*WEEKDAYS),
    ("now", "hour"): _of("0 to 23.", _INTEGER),
    ("now", "minute"): _INTEGER,
    ("now", "date"): _of("2026-01-31.", _TEXT),
}
_GROUPS: Final = {
    "version": "Of the document's form.",
    "agent": "Who asks, as verified.",
    "action": "What the agent wants done, as its protocol says it.",
    "mcp": "A message, empty unless action.kind is `mcp`; with `fault` none that every reader reads alike.",
    "destination": "Where it would go.",
    "session": "Of the verified subject.",
    "context": "What the caller says about itself in x-aegis- headers or MCP's _meta; never verified.",
    "now": "UTC.",
}
# Fields that a request may not have; everything else is in every whole document.
MAYBE_ABSENT: Final[frozenset[_Path]] = frozenset(
    field
    for field in FIELDS
    if field[0] == "mcp" or field == ("action", "arguments") or (field[0] == "context" and field[1] in CLAIMS)
)


def input_schema() -> _Schema:
    """The schema of the whole document. Raises KeyError for a field that nobody described."""
    members: dict[str, _Schema] = {}
    for field in FIELDS:
        if len(field) == 1:
            members[field[0]] = _FORMS[field]
            continue
        group = members.setdefault(field[0], _of(_GROUPS[field[0]], _object({})))
        group["properties"][field[1]] = _FORMS[field]
        if field not in MAYBE_ABSENT:
            group.setdefault("required", []).append(field[1])
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "The input document that policies read",
        "description": "opa-envoy-plugin's members (attributes, parsed_*, truncated_body, version) and ours."
        " A question holds only what the policy reads. `aegis policy schema` prints this.",
        **_object(members, list(members)),
    }


def as_text() -> str:
    """The schema as the file that editors and `opa` are given."""
    return json.dumps(input_schema(), indent=1, ensure_ascii=False) + "\n"
