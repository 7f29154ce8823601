"""JSON that every reader understands alike: RFC 7493 (I-JSON), its numbers no finer than doubles.

In: bytes that somebody else wrote, and how deep they may be nested. Out: the value, or ValueError (NotJson
for what a strict reader refuses) that says what is wrong without quoting it. Called for request bodies, key
files and tokens.

Readers of JSON differ on duplicate names (first or last wins), integers beyond 2^53 and long fractions
(rounded or kept), overflow, NaN, BOMs, lone surrogates, deep nesting. What any of them could read otherwise
is refused here, in time linear in the input.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, Final

import orjson

MAX_DEPTH: Final = 200  # orjson writes no more than 254 levels, and callers put values into documents
_EXACT: Final = 2**53 - 1
# Any other number has at most 15 significant digits and a small exponent: a double holds it as written.
_LONG_NUMBER: Final = re.compile(rb"[0-9][0-9.]{15}|[0-9][eE][+-]?[0-9]{3}")
_EXPONENT_DIGITS: Final = 5


class NotJson(ValueError):
    """Not JSON at all to a strict reader; a lenient one may still take it for some."""


def parse(data: bytes, depth: int) -> Any:
    """The one value that every reader of `data` sees, nested at most `depth` (up to MAX_DEPTH) deep."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise NotJson("not JSON in UTF-8, or a number beyond doubles") from None
    if data.count(b"{") + data.count(b"[") > depth:
        _check_depth(value, depth)
    again = orjson.dumps(value)
    # Written again without duplicates, a text has as many colons as before: those between names and values,
    # and those inside of strings. A duplicate that was dropped took at least its own colon with it. Only an
    # escaped colon could make up for that.
    if again.count(b":") != data.count(b":") or b"\\u003" in data or _LONG_NUMBER.search(data):
        _check_closely(data)
    return value


def _check_depth(value: Any, depth: int) -> None:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(depth):
        if not level:
            return
        inner = (item for outer in level for item in (outer.values() if isinstance(outer, dict) else outer))
        level = [item for item in inner if isinstance(item, dict | list)]
    if level:
        raise ValueError("nested too deeply")


def _check_closely(data: bytes) -> None:
    """The exact check, ten times slower; `data` is known to be JSON in UTF-8, not nested too deeply."""
    json.loads(data, object_pairs_hook=_check_names, parse_int=_check_integer, parse_float=_check_fraction)


def _check_names(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a member stands twice")


def _check_integer(digits: str) -> None:
    if abs(int(digits)) > _EXACT:
        raise ValueError("an integer beyond 2^53")


def _check_fraction(text: str) -> None:
    """A reader with decimals sees what one with doubles sees if the text is what a writer of doubles makes of
    that number: its shortest form, or the 17 digits of C's `%.17g`.
    """
    _, _, exponent = text.lower().partition("e")
    if len(exponent) <= _EXPONENT_DIGITS:
        number, read = Decimal(text), float(text)
        if number == Decimal(repr(read)) or number == Decimal(f"{read:.17g}"):
            return
    raise ValueError("a number that a double does not hold as written")
