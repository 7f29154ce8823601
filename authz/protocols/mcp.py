"""MCP over streamable HTTP, revisions 2024-11-05 to 2026-07-28: a JSON-RPC message, read in exactly one way.

In: method, headers and the body as `body.py` has read it. Out: Mcp, with the message or with the fault that
it has; None for what is no MCP at all. Called by `wire/mcp.py` for every request. It only adds: what makes a
request MCP is its route or its destination, and there a fault or None is a denial. What servers could read
differently is a fault: batches, members in other letters, members that JSON-RPC does not have, ids that are
none, headers (`Mcp-Method`, `Mcp-Name`, `MCP-Protocol-Version`) or Envoy's own reading that say otherwise.

    POST    {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{},"_meta":{}}}
            request (id and method), notification (method), response (id and result), error (id and error)
    GET     stream: what the server says by itself       DELETE  end: of the session

https://modelcontextprotocol.io/specification/2026-07-28/basic/transports, https://www.jsonrpc.org/specification
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from authz.values import Mcp, Reason

VERSIONS: Final = frozenset(("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"))
STATELESS: Final = frozenset(
    ("2026-07-28",)
)  # every request carries its own envelope and names itself in headers
VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"  # in `_meta`
METHOD: Final = "mcp-method"
NAME: Final = "mcp-name"
VERSION: Final = "mcp-protocol-version"
SESSION: Final = "mcp-session-id"
HEADERS: Final = frozenset((METHOD, NAME, VERSION, SESSION))
# The member of params that names what a method is about; the header Mcp-Name repeats it.
NAMED: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
MAX_ID: Final = 128  # characters of an id that is a string
MAX_NAME: Final = 128  # characters of a tool's or prompt's name
MAX_URI: Final = 2048
_MEMBERS: Final = frozenset("jsonrpc id method params result error".split())
_PARAMS: Final = frozenset("name uri arguments _meta".split())
_METHODS: Final = re.compile(
    r"initialize|ping|server/discover|(?:tools|prompts|resources|completion|logging|tasks|roots|sampling"
    r"|elicitation|subscriptions|notifications)/[A-Za-z_]+(?:/[A-Za-z_]+)*"
)
_NOTIFICATIONS: Final = "notifications/"
_VISIBLE: Final = re.compile(r"[!-~]+")
_JSON: Final = re.compile(r'application/json *(?:; *charset="?utf-?8"? *)?;? *', re.IGNORECASE)
_ENCODED: Final = re.compile(r"=\?base64\?(.*)\?=")
_EXACT: Final = 2**53 - 1


class _Fault(Exception):
    def __init__(self, reason: Reason) -> None:
        self.reason = reason


def read(
    method: str, headers: Mapping[str, str], body: Any, envoy: Mapping[str, Any] | None = None
) -> Mcp | None:
    """The message of a request. `body` is the JSON value or MISSING; `envoy` what Envoy's mcp filter read."""
    if method != "POST":
        return _without_message(method, headers)
    if not _looks_like(body) and not envoy:
        return Mcp("", fault=Reason.MALFORMED_MCP_MESSAGE) if speaks(headers) else None
    rpc_id = _salvaged_id(body)
    try:
        message = _message(headers, body)
        _check_envoy(message, envoy or {})
    except _Fault as fault:
        return Mcp("", rpc_id=rpc_id, fault=fault.reason)
    return message


def speaks(headers: Mapping[str, str]) -> bool:
    """Whether the caller says that it is an MCP client: denials are then written for one."""
    return not HEADERS.isdisjoint(headers)


def _without_message(method: str, headers: Mapping[str, str]) -> Mcp | None:
    """GET opens the stream of a session, DELETE ends it; neither has a message."""
    if method not in ("GET", "DELETE") or (SESSION not in headers and VERSION not in headers):
        return None
    try:
        version = _version(headers, {})
        _check_session(headers)
    except _Fault as fault:
        return Mcp("", fault=fault.reason)
    return Mcp("stream" if method == "GET" else "end", version=version)


def _looks_like(body: Any) -> bool:
    """Whether some JSON-RPC reader may take the body for a message, or for several."""
    if isinstance(body, dict):
        return "jsonrpc" in body or any(name.casefold() == "jsonrpc" for name in body)
    return isinstance(body, list) and any(isinstance(item, dict) and _looks_like(item) for item in body)


def _salvaged_id(body: Any) -> int | str | None:
    """The id to answer with, where the message has exactly one that is valid."""
    rpc_id = body.get("id") if isinstance(body, dict) and "method" in body else None
    return rpc_id if _is_id(rpc_id) else None


def _is_id(value: Any) -> bool:
    if type(value) is int:
        return abs(value) <= _EXACT
    return isinstance(value, str) and len(value) <= MAX_ID


def _message(headers: Mapping[str, str], body: Any) -> Mcp:
    if not _JSON.fullmatch(headers.get("content-type", "")):
        raise _Fault(Reason.MALFORMED_MCP_CONTENT_TYPE)
    if not isinstance(body, dict):
        raise _Fault(Reason.MALFORMED_MCP_BATCH if isinstance(body, list) else Reason.MALFORMED_MCP_MESSAGE)
    if not body.keys() <= _MEMBERS:
        raise _Fault(Reason.MALFORMED_MCP_MEMBER)
    if body.get("jsonrpc") != "2.0":
        raise _Fault(Reason.MALFORMED_MCP_JSONRPC)
    if "id" in body and not _is_id(body["id"]):
        raise _Fault(Reason.MALFORMED_MCP_ID)
    _check_session(headers)
    if "method" in body:
        return _call(headers, body)
    return _answer(headers, body)


def _answer(headers: Mapping[str, str], body: dict[str, Any]) -> Mcp:
    """What the client answers to a request of the server's: a result or an error."""
    kinds = [name for name in ("result", "error") if isinstance(body.get(name), dict)]
    if len(kinds) != 1 or body.keys() != {"jsonrpc", "id", kinds[0]}:
        raise _Fault(Reason.MALFORMED_MCP_MESSAGE)
    if METHOD in headers or NAME in headers:
        raise _Fault(Reason.MALFORMED_MCP_HEADERS)
    _check_letters(body[kinds[0]])
    return Mcp("response" if kinds[0] == "result" else "error", arguments={}, version=_version(headers, {}))


def _call(headers: Mapping[str, str], body: dict[str, Any]) -> Mcp:
    """A request or a notification."""
    method, params = body["method"], body.get("params", {})
    if "result" in body or "error" in body or not isinstance(method, str) or not _METHODS.fullmatch(method):
        raise _Fault(Reason.MALFORMED_MCP_MESSAGE)
    if method.startswith(_NOTIFICATIONS) == ("id" in body):
        raise _Fault(Reason.MALFORMED_MCP_ID)
    if not isinstance(params, dict):
        raise _Fault(Reason.MALFORMED_MCP_PARAMS)
    _check_letters(params)
    if any(name.casefold() in _PARAMS and name not in _PARAMS for name in params):
        raise _Fault(Reason.MALFORMED_MCP_MEMBER)
    meta = params.get("_meta", {})
    if not isinstance(meta, dict):
        raise _Fault(Reason.MALFORMED_MCP_PARAMS)
    name = _name(method, params)
    version = _version(headers, meta)
    _check_headers(headers, method, name, must="id" in body and version in STATELESS)
    return Mcp(
        "request" if "id" in body else "notification",
        method=method,
        name=name,
        arguments=_arguments(method, params),
        version=version,
        rpc_id=body.get("id"),
        meta=meta,
    )


def _name(method: str, params: dict[str, Any]) -> str:
    """The name of the tool or prompt, the URI of the resource; "" where the method has none."""
    member = NAMED.get(method)
    if member is None:
        return ""
    name = params.get(member)
    most = MAX_URI if member == "uri" else MAX_NAME
    if not isinstance(name, str) or len(name) > most or not _VISIBLE.fullmatch(name):
        raise _Fault(Reason.MALFORMED_MCP_PARAMS)
    return name


def _arguments(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Of tools/call its arguments, of other methods their params, without `_meta`."""
    if method != "tools/call":
        return {name: value for name, value in params.items() if name != "_meta"}
    arguments = params.get("arguments")
    if arguments is None:  # absent and null are the same to MCP's own types
        return {}
    if not isinstance(arguments, dict):
        raise _Fault(Reason.MALFORMED_MCP_PARAMS)
    return arguments


def _check_letters(value: Any) -> None:
    """No object has two members that differ only in case, which some typed readers take for one."""
    if isinstance(value, dict):
        if len({name.casefold() for name in value}) != len(value):
            raise _Fault(Reason.MALFORMED_MCP_MEMBER)
        value = value.values()
    elif not isinstance(value, list):
        return
    for item in value:
        if isinstance(item, dict | list):
            _check_letters(item)


def _version(headers: Mapping[str, str], meta: Mapping[str, Any]) -> str:
    """The protocol revision that header and envelope name, "" where neither does (`initialize`)."""
    named = headers.get(VERSION, "")
    said = meta.get(VERSION_KEY, named)
    if not isinstance(said, str) or (said != named and (named or said in STATELESS)):
        raise _Fault(Reason.MALFORMED_MCP_HEADERS)
    if said and said not in VERSIONS:
        raise _Fault(Reason.MALFORMED_MCP_VERSION)
    return said


def _check_headers(headers: Mapping[str, str], method: str, name: str, *, must: bool) -> None:
    """Mcp-Method and Mcp-Name say what the body says. From 2026 on every request `must` have them."""
    said_method, said_name = headers.get(METHOD), headers.get(NAME)
    if must and (said_method is None or (name and said_name is None)):
        raise _Fault(Reason.MALFORMED_MCP_HEADERS)
    if said_method is not None and said_method != method:
        raise _Fault(Reason.MALFORMED_MCP_HEADERS)
    if said_name is not None and decoded(said_name) != name:
        raise _Fault(Reason.MALFORMED_MCP_HEADERS)


def decoded(value: str) -> str | None:
    """A header's value; `=?base64?...?=` carries what a header cannot, and must do so canonically."""
    found = _ENCODED.fullmatch(value)
    if found is None:
        return value
    try:
        octets = base64.b64decode(found[1], validate=True)
        return octets.decode() if base64.b64encode(octets).decode() == found[1] else None
    except ValueError:  # no base64, not ASCII, or not UTF-8 inside
        return None


def _check_session(headers: Mapping[str, str]) -> None:
    session = headers.get(SESSION)
    if session is not None and not (len(session) <= 256 and _VISIBLE.fullmatch(session)):
        raise _Fault(Reason.MALFORMED_MCP_SESSION)


def _check_envoy(message: Mcp, envoy: Mapping[str, Any]) -> None:
    """What Envoy's mcp filter read, as far as it says so, is what was read here; its numbers are doubles."""
    ours = {"method": message.method, "id": message.rpc_id}
    params = envoy.get("params")
    theirs = {name: envoy[name] for name in ours if name in envoy}
    if isinstance(params, Mapping) and "name" in params and NAMED.get(message.method) == "name":
        ours["name"], theirs["name"] = message.name, params["name"]
    for name, value in theirs.items():
        if value != ours[name] and not (name == "id" and _same_id(value, ours[name])):
            raise _Fault(Reason.MALFORMED_MCP_METADATA)


def _same_id(theirs: Any, ours: Any) -> bool:
    return type(ours) is int and theirs in (float(ours), str(ours))
