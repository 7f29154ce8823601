"""What the kernel says of its clock: by what it counts, and whether somebody keeps it right (adjtimex(2)).

    {"source": "tsc", "state": "synchronized", "max_error_us": 15500, "estimated_error_us": 312,
     "offset_us": -4}

In: nothing. Out: the member `clock` of `open` and `heartbeat`. Called by the writer. `state` is
`synchronized` while an NTP or PTP daemon says so, `unsynchronized` when none does or its word is too old,
`unknown` where the kernel does not tell (some sandboxes). It asks, and sets nothing: no right is needed.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, Final

_SOURCE: Final = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_MAX_SOURCE: Final = 64  # characters
_UNSYNCHRONIZED: Final = 0x0040  # STA_UNSYNC
_NANOSECONDS: Final = 0x2000  # STA_NANO: `offset` is in them
_ERROR: Final = 5  # TIME_ERROR


class _Timex(ctypes.Structure):
    """struct timex of <sys/timex.h> as far as it is read here, with room for what the kernel writes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("max_error", ctypes.c_long),
        ("estimated_error", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def kernel_clock() -> dict[str, Any]:
    """The state now. `max_error_us` and `estimated_error_us` are what the kernel reckons with."""
    clock: dict[str, Any] = {"source": _source()}
    try:
        timex = _Timex()  # modes 0: nothing is set
        state = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):  # another C library
        state = -1
    if state < 0:
        return clock | {"state": "unknown"}
    unsynchronized = state == _ERROR or timex.status & _UNSYNCHRONIZED
    return clock | {
        "state": "unsynchronized" if unsynchronized else "synchronized",
        "max_error_us": timex.max_error,
        "estimated_error_us": timex.estimated_error,
        "offset_us": timex.offset // 1000 if timex.status & _NANOSECONDS else timex.offset,
    }


def _source() -> str:
    try:
        return _SOURCE.read_text()[:_MAX_SOURCE].strip() or "unknown"
    except (OSError, UnicodeDecodeError):
        return "unknown"
