"""JSON as OPA reads it in Go (encoding/json with UseNumber): the value, or NotReadable.

Stricter than Python's reader (no NaN, no BOM, no UTF-16) and laxer than ours: the last of several members
with one name counts, lone surrogates and bytes that are no UTF-8 become U+FFFD, numbers keep their text.
Behind the value only `null` may stand, and then whatever follows: that is what OPA's reader looks at.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

import orjson

from authz.protocols.golang.numbers import literal
from authz.protocols.golang.text import NotReadable, replaced, text

MAX_DEPTH: Final = 10_000
# From here on a value is passed on as text: what reads and writes JSON for us recurses.
_SHALLOW: Final = 100
_SPACE: Final = " \t\r\n"
_STRING: Final = r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9A-Fa-f]{4})*"'
_NUMBER: Final = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
_PIECE: Final = re.compile(
    rf"[ \t\r\n]*(?:(?P<open>[\[{{])|(?P<close>[\]}}])|(?P<mark>[,:])|(?P<text>{_STRING})"
    rf"|(?P<value>{_NUMBER}|true|false|null))"
)


def parse(body: bytes) -> Any:
    """The value; numbers and deep values may be `orjson.Fragment`s of their text."""
    given = text(body)
    start = len(given) - len(given.lstrip(_SPACE))
    try:
        if _is_deep(given):
            value, end = _deep(given, start)
        else:
            value, end = _DECODER.raw_decode(given, start)
            value = _clean(value)
    except ValueError:
        raise NotReadable("the body is not JSON") from None
    rest = given[end:].lstrip(_SPACE)
    if rest and not rest.startswith("null"):
        raise NotReadable("JSON with something behind its value")
    return value


def _no_constant(name: str) -> NoReturn:
    raise NotReadable(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(parse_float=literal, parse_int=literal, parse_constant=_no_constant)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return replaced(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {replaced(name): _clean(item) for name, item in value.items()}
    return value


def _is_deep(given: str) -> bool:
    """Whether it may be nested more than `_SHALLOW` deep; text inside strings counts, too."""
    if given.count("[") + given.count("{") <= _SHALLOW:
        return False
    depth = 0
    for found in re.finditer(r"[\[\]{}]", given):
        depth += 1 if found[0] in "[{" else -1
        if depth > _SHALLOW:
            return True
    return False


def _deep(given: str, start: int) -> tuple[Any, int]:
    """A value as the text it has, checked piece by piece: no recursion."""
    position, inside = start, [""]  # what is open, and what may come in it: see _NEXT
    expected = "value"
    while True:
        found = _PIECE.match(given, position)
        if found is None:
            raise NotReadable("not JSON")
        position = found.end()
        expected = _step(found, inside, expected)
        if expected == "end":
            return orjson.Fragment(replaced(given[start:position]).encode()), position


def _step(found: re.Match[str], inside: list[str], expected: str) -> str:
    """What may come after this piece, or NotReadable."""
    kind, piece = str(found.lastgroup), found[found.lastgroup or 0]
    if kind == "open" and expected in ("value", "value or ]"):
        inside.append(piece)
        if len(inside) - 1 > MAX_DEPTH:
            raise NotReadable("nested too deeply")
        return "value or ]" if piece == "[" else "name or }"
    if kind == "close" and expected in (f"value or {piece}", f"name or {piece}", f", or {piece}"):
        inside.pop()
    elif kind == "text" and expected in ("name", "name or }"):
        return ":"
    elif kind == "mark":
        if piece == ":" and expected == ":":
            return "value"
        if piece == "," and expected.startswith(", or"):
            return "name" if inside[-1] == "{" else "value"
        raise NotReadable("not JSON")
    elif kind not in ("text", "value") or expected not in ("value", "value or ]"):
        raise NotReadable("not JSON")
    return {"": "end", "[": ", or ]", "{": ", or }"}[inside[-1]]
