"""A path and a query, or a form, as Go's net/url reads them (PathUnescape, ParseQuery).

In: text of a request. Out: segments, or every name with the list of its values, in order; NotReadable where
Go gives an error. Strings may hold lone surrogates (`text.py`).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from authz.protocols.golang.text import NotReadable, octets, text

MAX_PAIRS: Final = 10_000  # net/url's own bound since Go 1.26
_BROKEN: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def path_segments(target: str) -> list[str]:
    """Of the target up to its first `?`: unescaped once, all leading slashes removed, then split."""
    return unescape(target.partition("?")[0]).lstrip("/").split("/")


def parse_query(query: str) -> dict[str, list[str]]:
    """A semicolon anywhere is an error, and is found before a broken escape."""
    if query.count("&") >= MAX_PAIRS:
        raise NotReadable("number of URL query parameters exceeded limit")
    if ";" in query:
        raise NotReadable("invalid semicolon separator in query")
    found: dict[str, list[str]] = {}
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            found.setdefault(unescape(name.replace("+", " ")), []).append(unescape(value.replace("+", " ")))
    return found


def unescape(given: str) -> str:
    if "%" not in given:
        return given
    if _BROKEN.search(given):
        raise NotReadable("invalid URL escape")
    return text(unquote_to_bytes(octets(given)))
