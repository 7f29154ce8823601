"""What a verification found, as values: for a person, for `--json`, for an exit code.

A report says as plainly what was not checked as what was.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct, field

EXPOSURE: Final = "no outside anchor: everything could be rewritten by the holder of the keys"
NO_ANCHORS: Final = "witnesses, time stamps and other outside anchors: none were given"
NEVER_CHECKED: Final = (
    "completeness: logs that are not here, requests that were never recorded",
    "whether what an entry says is true",
)
BY_LEVEL: Final = {
    1: ("chain, sequence and form of entries; attestations; how epochs continue each other; disclosures",),
    2: ("attestations: who recorded each decision",),
    3: (),
}


def plain(text: str) -> str:
    """`text` for a terminal or a log: what is not printable, and could be read as a command, is escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


class Fault(Struct, frozen=True):
    """Where stored evidence is not what was signed. `line` is 1-based, 0 for none; `seq` is -1 for none."""

    what: str
    file: str
    line: int = 0
    seq: int = -1

    def __str__(self) -> str:
        line = f", line {self.line}" if self.line else ""
        seq = f", seq {self.seq}" if self.seq >= 0 else ""
        return f"{self.file}{line}{seq}: {self.what}"


class Gap(Struct, frozen=True):
    """A `gap` entry: evidence of `old_log` after its first `good_entries` may be lost, and `why`."""

    seq: int
    old_log: str
    good_entries: int
    why: str


class Dated(Struct, frozen=True):
    """Somebody outside had seen `size` entries; `by` whose word they were there before `time` (`at` in Unix
    seconds). Without `by` there is no date.
    """

    size: int
    by: str
    time: str
    at: float
    file: str


class Disclosed(Struct):
    """The digests of entries, by their disclosures: they `fit`, are `encrypted` and were not opened, or
    `absent` because they were erased or lost; and lines that are `strange`, of entries that are not here.
    """

    fit: int = 0
    encrypted: int = 0
    absent: int = 0
    strange: int = 0

    def add(self, other: Disclosed) -> None:
        self.fit += other.fit
        self.encrypted += other.encrypted
        self.absent += other.absent
        self.strange += other.strange


class LogReport(Struct, frozen=True):
    """One epoch. `sealed` of its `entries` are under its checkpoint; `root` (hex) is over all of them.

    Of `pruned` ones only hashes are left. After a fault, `entries` counts what is good before it.
    `torn_bytes` belong to an incomplete last line.
    """

    log: str
    directory: str
    entries: int
    sealed: int
    root: str
    closed: bool
    torn_bytes: int
    gaps: tuple[Gap, ...]
    gap_count: int
    fault: Fault | None
    not_checked: tuple[str, ...]
    anchors: tuple[Dated, ...] = ()
    disclosed: Disclosed = field(default_factory=Disclosed)
    pruned: int = 0

    @property
    def unsealed(self) -> int:
        return max(0, self.entries - self.sealed)

    @property
    def anchored(self) -> int:
        """How many of the entries somebody outside has seen."""
        return max((anchor.size for anchor in self.anchors), default=0)


class Repeated(Struct, frozen=True):
    """Level 4: of all `decisions`, those that came out the `same` when their facts were put to the version
    that decided, and those that could not be put to it, by why. `faults` came out otherwise, or their
    version was replaced; `first` of them in the order of entries.
    """

    decisions: int
    same: int
    not_replayable: dict[str, int]
    faults: int
    first: Fault | None = None


class Report(Struct, frozen=True):
    """All logs below a path. `first_fault` is the first of them in the order of `logs`."""

    verified: bool
    level: int
    first_fault: Fault | None
    logs: tuple[LogReport, ...]
    not_checked: tuple[str, ...]
    exposure: str = EXPOSURE
    repeated: Repeated | None = None


def exposure(logs: Iterable[LogReport], now: float) -> str:
    """The tail-exposure window at `now` (Unix seconds): what came after each log's last outside anchor."""
    logs = list(logs)
    if not any(log.anchors for log in logs):
        return EXPOSURE
    exposed = [log for log in logs if log.entries > log.anchored]
    if not exposed:
        return "none: every entry is under an outside anchor"
    behind = sum(log.entries - log.anchored for log in exposed)
    dates = [max((anchor.at for anchor in log.anchors), default=0.0) for log in exposed]
    since = f"{max(0.0, now - min(dates)):.0f} s since the last dated one" if all(dates) else "undated"
    tail = f"{behind:,} entries after the last outside anchor of their log ({since})"
    return f"{tail} could be rewritten by the holder of the keys"
