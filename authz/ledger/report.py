"""What a verification found, as values: for a person, for `--json`, for an exit code.

A report says as plainly what was not checked as what was.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

EXPOSURE: Final = "no outside anchor: everything could be rewritten by the holder of the keys"
NEVER_CHECKED: Final = (
    "witnesses, time stamps and other outside anchors",
    "completeness: logs that are not here, requests that were never recorded",
    "disclosures, and whether what an entry says is true",
)
BY_LEVEL: Final = {
    1: ("chain, sequence and form of entries; attestations; how epochs continue each other",),
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


class LogReport(Struct, frozen=True):
    """One epoch. `sealed` of its `entries` are under its checkpoint; `root` (hex) is over all of them.

    After a fault, `entries` counts what is good before it. `torn_bytes` belong to an incomplete last line.
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

    @property
    def unsealed(self) -> int:
        return max(0, self.entries - self.sealed)


class Report(Struct, frozen=True):
    """All logs below a path. `first_fault` is the first of them in the order of `logs`."""

    verified: bool
    level: int
    first_fault: Fault | None
    logs: tuple[LogReport, ...]
    not_checked: tuple[str, ...]
    exposure: str = EXPOSURE
