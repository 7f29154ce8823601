"""What a member of an entry may hold: named rules, and tables of them.

    RULES["hash"] = "64 lowercase hex digits", and a function that says whether a value is that
    table         = {"of": "log", "size": "count", "why?": "text"}       a name with `?` may be left out

In: a table and members. Out: nothing, or ValueError naming the member. Called for entries that are read and
for those that are to be written. Every rule has a bound.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from msgspec import Struct

LOG: Final = re.compile(
    r"([^\s+/\x00-\x1f]{1,255}/){2}[^\s+/\x00-\x1f]{1,255}"
)  # <deployment>/<worker>/<epoch>
HASH: Final = re.compile(r"[0-9a-f]{64}")
MAX_NAME: Final = 255  # characters
MAX_TEXT: Final = 1024
MAX_LONG: Final = 4096
MAX_LIST: Final = 64  # items
MAX_JWK: Final = 8  # members

_TIMESTAMP: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Table = Mapping[str, "str | tuple[str, ...]"]
"""Member name, with a `?` if it may be left out -> name of its rule, or the words it may be."""


class Rule(Struct, frozen=True):
    """`what` completes "not ..."."""

    what: str
    good: Callable[[Any], bool]


def is_time(value: Any) -> bool:
    """RFC 3339 in UTC with six decimals, and a moment that there is."""
    if type(value) is not str or not _TIMESTAMP.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _text(value: Any, most: int) -> bool:
    return type(value) is str and 0 < len(value) <= most


def _line(value: Any) -> bool:
    return _text(value, MAX_NAME) and value.isprintable()


def _match(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: type(value) is str and pattern.fullmatch(value) is not None


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _listed(good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: type(value) is list and 0 < len(value) <= MAX_LIST and all(map(good, value))


def _jwk(value: Any) -> bool:
    """A public key: of members that are short strings, and none that only a private one has (RFC 7517)."""
    if type(value) is not dict or not 0 < len(value) <= MAX_JWK or "kty" not in value:
        return False
    return not {"d", "k"} & value.keys() and all(_text(item, MAX_TEXT) for item in value.values())


RULES: Final[dict[str, Rule]] = {
    "name": Rule(f"a printable name of 1 to {MAX_NAME} characters", _line),
    "names": Rule(f"a list of 1 to {MAX_LIST} names", _listed(_line)),
    "text": Rule(f"a text of 1 to {MAX_TEXT} characters", lambda value: _text(value, MAX_TEXT)),
    "long": Rule(f"a text of 1 to {MAX_LONG} characters", lambda value: _text(value, MAX_LONG)),
    "count": Rule("an integer from 0 on", _count),
    "hash": Rule("64 lowercase hex digits", _match(HASH)),
    "log": Rule("the name of a log", _match(LOG)),
    "logs": Rule(f"a list of 1 to {MAX_LIST} names of logs", _listed(_match(LOG))),
    "time": Rule("RFC 3339 in UTC with six decimals", is_time),
    "uuid": Rule("a UUID in lower case", _match(_UUID)),
    "jwk": Rule("a public JWK", _jwk),
}


def check(table: Table, members: Mapping[str, Any]) -> None:
    """Raises ValueError naming the first member of `table` that is missing or not what its rule says, or the
    first of `members` that it does not know.
    """
    for name, rule in table.items():
        plain = name.removesuffix("?")
        if plain not in members:
            if plain == name:
                raise ValueError(f"{name}: missing")
        elif isinstance(rule, tuple):
            if members[plain] not in rule:
                raise ValueError(f"{plain}: not one of {', '.join(rule)}")
        elif not RULES[rule].good(members[plain]):
            raise ValueError(f"{plain}: not {RULES[rule].what}")
    for name in members:
        if name not in table and f"{name}?" not in table:
            raise ValueError(f"{name}: no member of this kind")
