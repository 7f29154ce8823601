"""Regular expressions of a policy: does one match the whole text, or something inside of it?

In: a pattern (RE2), or a Rego literal of one. Out: an answer, or the mended literal. Called by `hosts.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_START: Final = re.compile(r"(?:\(\?[a-zA-Z]+\))?(?:\^|\\A)")
_END: Final = re.compile(r"(?:\$|\\z)$")
_ANY: Final = r"\.[*+]\??"
_OPEN_START: Final = re.compile(rf"^(?:\(\?[a-zA-Z]+\))?(?:\^|\\A)[(?:]*{_ANY}\)?(?!\\\.)")
_OPEN_END: Final = re.compile(rf"(?:[^\\]){_ANY}\)?(?:\$|\\z)$")
_MULTILINE: Final = re.compile(r"\(\?[a-zA-Z]*m")


def anchored(pattern: str) -> bool:
    """Whether it matches the whole text or nothing, whichever of its alternatives does."""
    if not _START.match(pattern) or not _END.search(pattern) or _MULTILINE.search(pattern):
        return False
    return not any(char == "|" and depth == 0 for _, char, depth in _plain(pattern))


def open_ended(pattern: str) -> bool:
    """Whether it begins or ends with `.*`, and no escaped dot keeps a name beside it apart."""
    return bool(_OPEN_START.match(pattern) or _OPEN_END.search(pattern))


def has_bare_dot(pattern: str) -> bool:
    """Whether a dot between letters stands for any character."""
    return bool(list(_bare_dots(pattern)))


def between_anchors(literal: str) -> str:
    """The Rego literal of the same pattern, anchored."""
    quote, pattern = literal[0], literal[1:-1]
    return f"{quote}^(?:{pattern})${quote}"


def with_dots_escaped(literal: str) -> str:
    """The Rego literal with its bare dots escaped."""
    quote, pattern = literal[0], literal[1:-1]
    escape = "\\" if quote == "`" else "\\\\"
    for at in sorted(_bare_dots(pattern), reverse=True):
        pattern = pattern[:at] + escape + pattern[at:]
    return quote + pattern + quote


def _bare_dots(pattern: str) -> Iterator[int]:
    for at, char, _ in _plain(pattern):
        if char == "." and pattern[at + 1 : at + 2] not in ("*", "+", "?", "{"):
            yield at


def _plain(pattern: str) -> Iterator[tuple[int, str, int]]:
    """The characters that are neither escaped nor in a class, with how many parentheses are open."""
    depth, in_class, escaped = 0, False, False
    for at, char in enumerate(pattern):
        if escaped or char == "\\":
            escaped = not escaped
        elif in_class or char == "[":
            in_class = char != "]"
        else:
            depth += (char == "(") - (char == ")")
            yield at, char, depth
