"""What of a decision's facts may be kept: without credentials, and without payload unless that is permitted.

In: the question that policy was asked, as JSON. Out: the same document with what may not be kept replaced by
MASK, and JSON pointers to all of it, so that whoever replays knows what is missing. Called while a disclosure
is made. The rules are those of `redaction.py`.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from authz.controls.redaction import MASK, Redaction, escaped

_Path = tuple[str, ...]

_HTTP: Final = ("attributes", "request", "http")
# Payload as it was sent, which no rule can look into: never kept.
_RAW: Final[tuple[_Path, ...]] = ((*_HTTP, "body"), (*_HTTP, "rawBody"), (*_HTTP, "query"))
_BODY: Final[_Path] = ("parsed_body",)
_QUERY: Final[_Path] = ("parsed_query",)
_ARGUMENTS: Final[_Path] = ("action", "arguments")
PAYLOAD: Final = (*_RAW, _BODY, _QUERY, _ARGUMENTS)
_PATH: Final[_Path] = (*_HTTP, "path")
_HEADERS: Final[_Path] = (*_HTTP, "headers")
_HEADER_MAP: Final[_Path] = (*_HTTP, "headerMap")
# Headers whose values may let somebody in, by their names.
_CREDENTIAL: Final = re.compile(r"(?!:).*(auth|cookie|token|secret|key|pass|session|credential|signature).*")


def keepable(
    question: bytes, redaction: Redaction, *, mcp: bool, payload: bool
) -> tuple[dict[str, Any], list[str]]:
    """`payload`: what comes from one may be kept, by the rules for parameters. `mcp`: a body is a message. Of
    a question that not every reader of JSON takes nothing is kept: `""` points to all of it.
    """
    try:
        document: dict[str, Any] = orjson.loads(question)
    except (
        orjson.JSONDecodeError
    ):  # numbers beyond a double, deep nesting: opa-envoy-plugin's policies see them
        return {}, [""]
    masked: list[str] = []
    apart = {path: value for path in _APART if (value := _take(document, path)) is not None}
    shown: dict[str, Any] = redaction.texts(document, "", masked)
    for path, value in apart.items():
        if clean := _CLEANED.get(path):
            found = clean(value, _pointer(path), redaction, masked)
        elif path in _RAW or not payload or (mcp and path == _BODY):
            found = _mask(value, path, masked)
        else:
            found = _parameters(value, path, redaction, mcp, masked)
        _put(shown, path, found)
    return shown, masked


def _take(document: dict[str, Any], path: _Path) -> Any:
    """Remove what is at `path`; None if there is nothing, or null."""
    for part in path[:-1]:
        document = document.get(part, {})
        if not isinstance(document, dict):
            return None
    return document.pop(path[-1]) if document.get(path[-1]) is not None else None


def _put(document: dict[str, Any], path: _Path, value: Any) -> None:
    for part in path[:-1]:
        document = document.setdefault(part, {})
    document[path[-1]] = value


def _pointer(path: _Path) -> str:
    return "".join(f"/{escaped(part)}" for part in path)


def _mask(value: Any, path: _Path, masked: list[str]) -> Any:
    """An empty one says nothing."""
    if not value:
        return value
    masked.append(_pointer(path))
    return MASK


def _parameters(value: Any, path: _Path, redaction: Redaction, mcp: bool, masked: list[str]) -> Any:
    """By the rules whose pointers go into `{"body", "query"}`, or into an MCP call's arguments."""
    part = "query" if path == _QUERY else "" if mcp else "body"
    shown, found = redaction.parameters({part: value} if part else value)
    masked += [_pointer(path) + pointer.removeprefix(f"/{part}" if part else "") for pointer in found]
    return shown[part] if part else shown


def _without_query(value: Any, here: str, redaction: Redaction, masked: list[str]) -> Any:
    """A text that may end with a query."""
    if not isinstance(value, str):
        return redaction.texts(value, here, masked)
    path, mark, query = value.partition("?")
    shown = redaction.path(path) + (f"?{MASK}" if query else mark)
    if shown != value:
        masked.append(here)
    return shown


def _headers(value: Any, here: str, redaction: Redaction, masked: list[str]) -> Any:
    if not isinstance(value, dict):
        return _mask(value, _HEADERS, masked)
    return {
        name: _header(name, text, f"{here}/{escaped(name)}", redaction, masked)
        for name, text in value.items()
    }


def _header(name: str, text: Any, here: str, redaction: Redaction, masked: list[str]) -> Any:
    name = name.lower()
    if name in redaction.headers or _CREDENTIAL.fullmatch(name):
        masked.append(here)
        return MASK
    return _without_query(text, here, redaction, masked)


def _header_map(value: Any, here: str, redaction: Redaction, masked: list[str]) -> Any:
    """The raw form, `{"headers": [{"key", "value" or "rawValue"}]}`: only what can be read is kept."""
    rows = value.get("headers") if isinstance(value, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return _mask(value, _HEADER_MAP, masked)
    return {"headers": [_row(row, f"{here}/headers/{at}", redaction, masked) for at, row in enumerate(rows)]}


def _row(row: dict[str, Any], here: str, redaction: Redaction, masked: list[str]) -> dict[str, Any]:
    key, text = row.get("key"), row.get("value")
    if not isinstance(key, str) or not isinstance(text, str):
        masked.append(here)
        return {"key": key if isinstance(key, str) else MASK, "value": MASK}
    return {"key": key, "value": _header(key, text, f"{here}/value", redaction, masked)}


_CLEANED: Final = {_PATH: _without_query, _HEADERS: _headers, _HEADER_MAP: _header_map}
_APART: Final = (*PAYLOAD, *_CLEANED)
