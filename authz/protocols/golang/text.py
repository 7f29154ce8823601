"""Strings as Go has them: any bytes, of which those that are no UTF-8 are shown as U+FFFD, one by one.

In: bytes. Out: a `str` in which a byte that is no UTF-8 stands as a lone surrogate (PEP 383), so that nothing
is lost while the text is taken apart; `shown` replaces it in what is given to others. Used by the readers of
this package only.
"""

from __future__ import annotations

import re
from typing import Any, Final

REPLACEMENT: Final = "\ufffd"
# unicode.IsSpace, which has no U+001C to U+001F as Python's has.
SPACES: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_LONE: Final = re.compile("[\ud800-\udfff]")


class NotReadable(ValueError):
    """Go's library gives an error for this; the text says what is wrong and quotes nothing."""


def text(data: bytes) -> str:
    """`data` with each byte that is no UTF-8 as a lone surrogate."""
    return data.decode("utf-8", "surrogateescape")


def octets(given: str) -> bytes:
    """The bytes that `text` was given."""
    return given.encode("utf-8", "surrogateescape")


def replaced(given: str) -> str:
    """`given` with U+FFFD for each lone surrogate."""
    return given if given.isascii() else _LONE.sub(REPLACEMENT, given)


def shown(value: Any) -> tuple[Any, bool]:
    """A JSON value with the strings that others may see, and whether any of them is not what it was."""
    if isinstance(value, str):
        clean = replaced(value)
        return clean, clean != value
    if isinstance(value, list):
        items = [shown(item) for item in value]
        return [item for item, _ in items], any(lossy for _, lossy in items)
    if isinstance(value, dict):
        members = {replaced(name): shown(value[name]) for name in sorted(value)}
        lossy = any(lost for _, lost in members.values()) or any(replaced(name) != name for name in value)
        return {name: item for name, (item, _) in members.items()}, lossy
    return value, False
