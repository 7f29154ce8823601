"""The body as arguments: JSON or a form, read in exactly one way, or `Denied` with `malformed_body`.

In: the bytes, the content type, limits. Out: the parsed value, or MISSING for other types. Called by
`wire/extauthz.py` for every request with a body. No detail quotes the body.

Readers of JSON differ on duplicate names (first or last wins), integers beyond 2^53 (rounded or kept), NaN,
BOMs, lone surrogates and deep nesting; a body with any of these is refused.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import unquote_plus

import orjson

from authz.errors import Denied
from authz.values import MISSING, Reason

JSON: Final = "json"
FORM: Final = "form"
OTHER: Final = ""
_EXACT: Final = 2**53 - 1
# Integers that orjson would turn into floats have at least 19 digits; it tells of smaller ones itself.
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UTF8_NAMES: Final = frozenset(("utf-8", "utf8", "us-ascii"))


def media(content_type: str) -> str:
    """JSON, FORM or OTHER. Media types are case-insensitive; parameters may not change the encoding."""
    kind, _, parameters = content_type.partition(";")
    if "," in kind:
        raise Denied(Reason.MALFORMED_HEADERS, "content-type: several")
    kind = kind.strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        found = JSON
    elif kind == "application/x-www-form-urlencoded":
        found = FORM
    else:
        return OTHER
    if parameters:
        _check_charset(parameters.lower())
    return found


def _check_charset(parameters: str) -> None:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in _UTF8_NAMES:
            raise Denied(Reason.MALFORMED_BODY, "content-type: a charset other than UTF-8")


def arguments(body: bytes, kind: str, depth: int) -> Any:
    """The body's value, or MISSING when `kind` is OTHER."""
    if kind == JSON:
        return parse_json(body, depth)
    if kind == FORM:
        return parse_form(body)
    return MISSING


def parse_json(body: bytes, depth: int) -> Any:
    """The one value that every reader of `body` sees, nested at most `depth` deep."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Denied(Reason.MALFORMED_BODY, "body: not JSON in UTF-8") from None
    if body.count(b"{") + body.count(b"[") > depth:
        _check_depth(value, depth)
    try:
        again = orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER)
    except orjson.JSONEncodeError:
        raise Denied(Reason.MALFORMED_BODY, "body: an integer beyond 2^53") from None
    # Written again without duplicates, a body has as many colons as before: those between names and values,
    # and those inside of strings. A duplicate that was dropped took at least its own colon with it. Only an
    # escaped colon could make up for that.
    if again.count(b":") != body.count(b":") or b"\\u003" in body or _LONG_NUMBER.search(body):
        _check_closely(body)
    return value


def _check_depth(value: Any, depth: int) -> None:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(depth):
        if not level:
            return
        inner = (item for outer in level for item in (outer.values() if isinstance(outer, dict) else outer))
        level = [item for item in inner if isinstance(item, dict | list)]
    if level:
        raise Denied(Reason.MALFORMED_BODY, "body: nested too deeply")


def _check_closely(body: bytes) -> None:
    """The exact check, ten times slower; `body` is known to be JSON that is not nested too deeply."""
    json.loads(body, object_pairs_hook=_check_names, parse_int=_check_integer)


def _check_names(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise Denied(Reason.MALFORMED_BODY, "body: a member stands twice")


def _check_integer(digits: str) -> int:
    # Sixteen digits and a sign are enough for 2^53; int() of more would cost their square.
    if len(digits) > 17 or abs(int(digits)) > _EXACT:
        raise Denied(Reason.MALFORMED_BODY, "body: an integer beyond 2^53")
    return 0


def parse_form(body: bytes) -> dict[str, list[str]]:
    """Every name with the list of its values, in order."""
    try:
        text = body.decode("ascii")
        if ";" in text:
            raise Denied(Reason.MALFORMED_BODY, "form: a semicolon separates for some readers only")
        if _BROKEN_ESCAPE.search(text):
            raise Denied(Reason.MALFORMED_BODY, "form: broken escape")
        found: dict[str, list[str]] = {}
        for pair in text.split("&"):
            if pair:
                name, _, value = pair.partition("=")
                name = unquote_plus(name, errors="strict")
                found.setdefault(name, []).append(unquote_plus(value, errors="strict"))
    except UnicodeDecodeError:
        raise Denied(Reason.MALFORMED_BODY, "form: not UTF-8") from None
    return found
