"""Which of two answers, the plugin's and ours, are the same to Envoy, and where we differ on purpose."""

from __future__ import annotations

import json
from typing import Any

OURS = ("decision", "reason_code", "log", "seq", "entry_hash")
OUR_HEADER = "x-aegis-decision-id"
OUR_REMOVALS = ("proxy-authorization", "x-aegis-agent-token")
DEEP = 500  # what nests deeper is compared as text

# The two deliberate differences, beside "error" (the plugin gives none, we deny and name the reason): header
# names and values that HTTP forbids are not sent, nor is what a request's target cannot hold.
FORBIDDEN_TO_HTTP = {
    "10 blanks",
    "10 empty name",
    "10 line break",
    "10 line break in a name",
    "10 line break to add",
    "10 line break on a denial",
    "10 pseudo header",
}
WRITTEN_OTHERWISE = {"8 removals", "10 blanks around a value", "10 query with blanks"}
# JSON that says the same: Go writes a byte that is no UTF-8 as an escape.
WRITTEN_OTHERWISE |= {"a byte as JSON"}
# The plugin hands it to OPA inside itself, OPA's API does not take it: denied, and named.
BEYOND_OPA = "beyond OPA "
# The plugin gives no answer, we give policy's denial.
DENIED_ALL_THE_SAME = {"a byte in a denial"}


def plain(answer: dict[str, Any]) -> Any:
    """What Envoy does with it, without what is ours in it: an answer, "unparsed", or "error"."""
    denied = answer.get("deniedResponse", {})
    if "error" in answer or "about:blank" in denied.get("body", ""):
        return "error"
    if denied.get("body", "").startswith("request_parse_error: "):
        assert denied["status"] == {"code": 400}
        assert answer["status"] == {"code": 7, "message": denied["body"]}
        return "unparsed"
    allowed = "code" not in answer["status"]
    found = {
        "allowed": allowed,
        "response": _response(answer.get("okResponse" if allowed else "deniedResponse", {})),
        "metadata": {name: value for name, value in answer["dynamicMetadata"].items() if name not in OURS},
    }
    assert "deniedResponse" not in answer if allowed else "okResponse" not in answer
    assert isinstance(found["metadata"].pop("decision_id"), str)
    if not allowed:
        found["response"].setdefault("status", {"code": 403})  # Envoy's own where there is no response
    if "input" in found["metadata"]:
        found["metadata"]["input"] = _document(found["metadata"]["input"])
    return found


def _response(response: dict[str, Any]) -> dict[str, Any]:
    found = dict(response)
    for name in ("headers", "responseHeadersToAdd"):
        headers = [_in_lower_case(option) for option in found.pop(name, [])]
        headers = [option for option in headers if option["header"]["key"] != OUR_HEADER]
        if headers:
            found[name] = headers
    removed = [name for name in found.pop("headersToRemove", []) if name not in OUR_REMOVALS]
    return found | ({"headersToRemove": removed} if removed else {})


def _in_lower_case(option: dict[str, Any]) -> dict[str, Any]:
    """Names of headers are the same in any case."""
    header = option["header"]
    return option | {"header": header | {"key": header.get("key", "").lower()}}


def _document(text: str) -> Any:
    """With the text of every number, for policies can print it."""
    if text.count("[") + text.count("{") > DEEP:
        return text
    return json.loads(text, parse_float=str, parse_int=str)
