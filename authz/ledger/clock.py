"""Time as the ledger writes it: timestamps of entries, and names of epochs. Order is `seq`, never time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

EPOCH: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{16}")
_SECOND: Final = "%Y%m%dT%H%M%SZ"


class Stamp:
    """RFC 3339, UTC, exactly six decimals, `Z`, as the clock reads; what is above the second is kept while it
    stays the same.
    """

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        self._second = -1
        self._prefix = ""

    def now(self) -> str:
        second, nanos = divmod(self._clock_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._prefix}.{nanos // 1000:06d}Z"


def epoch_name(now_ns: int, random: bytes, after: str) -> str:
    """UTC time and 64 random bits, e.g. `20260101T000000Z-0011223344556677`. It sorts after the name `after`
    ("" for none) even if the clock stepped back.
    """
    second = now_ns // 1_000_000_000
    if after:
        newest = datetime.strptime(after.partition("-")[0], _SECOND).replace(tzinfo=UTC)
        second = max(second, int(newest.timestamp()) + 1)
    return f"{datetime.fromtimestamp(second, UTC):{_SECOND}}-{random.hex()}"


def is_epoch_name(name: str) -> bool:
    """Whether `name` is one that `epoch_name` can have given, and can be followed."""
    try:
        return bool(EPOCH.fullmatch(name)) and datetime.strptime(name[:16], _SECOND).year < 9999  # noqa: DTZ007
    except ValueError:
        return False
