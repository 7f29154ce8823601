"""What `make up` says of the verification."""

from __future__ import annotations

from authz.up.proof import Verification
from authz.up.show import verified


def report(*logs: tuple[str, int]) -> Verification:
    found = [{"log": name, "entries": entries, "sealed": entries} for name, entries in logs]
    return Verification(0, {"logs": found, "not_checked": ["this"], "exposure": "that"}, "")


def test_the_newest_log_of_each_writer_is_named_and_the_earlier_ones_are_counted() -> None:
    said = verified(
        report(("d/control/2", 3), ("d/worker-0/1", 10), ("d/worker-0/2", 20), ("d/worker-0/3", 5))
    )
    assert said.splitlines() == [
        "  d/control/2: 3 entries, 3 sealed",
        "  d/worker-0/3: 5 entries, 5 sealed",
        "  earlier logs, each continued by the next: 2, with 30 entries",
        "  not checked: this",
        "  exposure: that",
    ]


def test_a_single_log_has_no_earlier_ones() -> None:
    assert verified(report(("d/worker-0/1", 10))).splitlines()[1] == "  not checked: this"
