"""Timestamps of entries: RFC 3339, UTC, exactly six decimals, `Z`. As the clock reads; order is `seq`."""

from __future__ import annotations

import time
from collections.abc import Callable


class Stamp:
    """Formats the clock's nanoseconds; the part down to the second is kept while it stays the same."""

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
