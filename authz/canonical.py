"""The one encoding of an entry to bytes: RFC 8785 on the profile of EVIDENCE section 1.

    strings, booleans, arrays, objects, integers with |n| <= 2^53-1; ASCII member names, sorted
    no floats, no nulls, no duplicate names, no white space

On this profile orjson with sorted keys is RFC 8785 (a property test compares them). `encode` trusts its
caller to stay inside the profile, since its values come from typed stages; `parse` trusts nobody.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import orjson

_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_DECODER: Final = msgspec.json.Decoder(dict[str, str | int | bool | list[Any] | dict[str, Any]])


def encode(value: Any) -> bytes:
    """Canonical bytes of `value`. Raises ValueError for what JSON or the profile's integers cannot hold."""
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except orjson.JSONEncodeError as error:
        raise ValueError(str(error)) from None


def parse(data: bytes) -> dict[str, Any]:
    """The object whose canonical encoding is exactly `data`. Raises ValueError, naming what is wrong."""
    try:
        value = _DECODER.decode(data)
        again = orjson.dumps(value, option=_OPTIONS)
    except (msgspec.DecodeError, orjson.JSONEncodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not an entry's JSON: {error}") from None
    if again != data:
        raise ValueError("not in canonical form")
    if not data.isascii():
        _check_names(value)
    for item in value.values():
        if type(item) is list or type(item) is dict:
            _check(item)
    return value


def _check_names(value: dict[str, Any]) -> None:
    if not all(map(str.isascii, value)):
        raise ValueError("a member name is not ASCII")


def _check(value: Any) -> None:
    """Nothing of what `parse` let into a nested value lies outside the profile."""
    if isinstance(value, dict):
        _check_names(value)
        for item in value.values():
            _check(item)
    elif isinstance(value, list):
        for item in value:
            _check(item)
    elif value is None or isinstance(value, float):
        raise ValueError("a float or a null")
