"""Numbers as Go writes them, as JSON that keeps its text: a policy may print them.

In: a number, or the text of one. Out: an int where that has the same text, else an `orjson.Fragment` of it;
a string for what JSON has no number for.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Final

import orjson

_EXACT: Final = 15  # digits that an int has in every reader


def literal(digits: str) -> Any:
    """A JSON number with its text, as a json.Number has it."""
    if len(digits) <= _EXACT and digits.removeprefix("-").isdigit() and digits != "-0":
        return int(digits)
    return orjson.Fragment(digits)


def of_struct(value: float) -> Any:
    """A number of a google.protobuf.Struct in OPA: strconv.FormatFloat(value, 'g', -1, 64)."""
    if not math.isfinite(value):
        return _no_number(value)
    sign, digits, power = _shortest(value)
    return literal(_plain(sign, digits, power) if -4 <= power < 6 else _scientific(sign, digits, power))


def of_message(value: float) -> Any:
    """A double in proto-JSON (protojson.Marshal)."""
    if not math.isfinite(value):
        return _no_number(value)
    sign, digits, power = _shortest(value)
    if value == 0 or -6 <= power < 21:
        return literal(_plain(sign, digits, power))
    return literal(_scientific(sign, digits, power).replace("e-0", "e-"))


def _no_number(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _shortest(value: float) -> tuple[str, str, int]:
    """Sign, the fewest digits that give `value` back, and the power of ten of the first one."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    return "-" * sign, "".join(map(str, digits)), len(digits) + int(exponent) - 1 if value else 0


def _scientific(sign: str, digits: str, power: int) -> str:
    point = "." if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{point}{digits[1:]}e{'-' if power < 0 else '+'}{abs(power):02d}"


def _plain(sign: str, digits: str, power: int) -> str:
    if power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits}"
    whole, rest = digits[: power + 1].ljust(power + 1, "0"), digits[power + 1 :]
    return f"{sign}{whole}.{rest}" if rest else f"{sign}{whole}"
