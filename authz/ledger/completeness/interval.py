"""Of which time completeness is judged, and how much may lie between two signs of life."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from authz.errors import ConfigError
from authz.ledger.completeness.heads import Reported, micros, stamp

SECOND: Final = 1_000_000  # microseconds
ALL: Final = (0, 1 << 60)


class Bounds(Struct, frozen=True):
    """Seconds: between two heads of a log, two entries of a living one, a decision and its outcome."""

    heads_s: float = 30.0
    silence_s: float = 90.0
    after_s: float = 60.0


class Interval(Struct, frozen=True):
    """Timestamps as in entries, both included."""

    start: str
    end: str

    @property
    def micros(self) -> tuple[int, int]:
        return micros(self.start), micros(self.end)


def all_of(reported: dict[str, Reported]) -> Interval:
    """From the first report of any log to the last one that covers all that are not closed."""
    logs = [each for each in reported.values() if each.times]
    if not logs:
        raise ConfigError("the control log reports nothing: say --from and --to")
    living = [each.times[-1] for each in logs if each.closed < 0]
    end = min(living) if living else max(each.times[-1] for each in logs)
    return Interval(stamp(min(each.times[0] for each in logs)), stamp(end))
