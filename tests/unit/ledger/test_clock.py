"""Timestamps and epoch names: the clock as it reads, and an order that does not depend on it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.ledger.clock import Stamp, epoch_name, is_epoch_name

NEW_YEAR = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
RANDOM = bytes.fromhex("0011223344556677")


def test_a_timestamp_has_six_decimals_whatever_the_fraction() -> None:
    readings = iter([NEW_YEAR, NEW_YEAR + 1_999, NEW_YEAR + 999_999_999, NEW_YEAR + 1_000_000_000])
    stamp = Stamp(lambda: next(readings))
    assert [stamp.now() for _ in range(4)] == [
        "2026-01-01T00:00:00.000000Z",
        "2026-01-01T00:00:00.000001Z",
        "2026-01-01T00:00:00.999999Z",
        "2026-01-01T00:00:01.000000Z",
    ]


def test_a_clock_that_steps_back_is_written_as_it_reads() -> None:
    readings = iter([NEW_YEAR, NEW_YEAR - 86_400_000_000_000])
    stamp = Stamp(lambda: next(readings))
    assert [stamp.now(), stamp.now()] == ["2026-01-01T00:00:00.000000Z", "2025-12-31T00:00:00.000000Z"]


def test_an_epoch_is_named_by_time_and_64_random_bits() -> None:
    assert epoch_name(NEW_YEAR, RANDOM, "") == "20260101T000000Z-0011223344556677"


@settings(deadline=None)
@given(
    st.integers(0, 4_000_000_000),
    st.integers(0, 4_000_000_000),
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=8, max_size=8),
)
def test_an_epoch_sorts_after_the_one_before_it_whatever_the_clock_does(
    before: int, now: int, random: bytes, other: bytes
) -> None:
    old = epoch_name(before * 1_000_000_000, random, "")
    new = epoch_name(now * 1_000_000_000, other, old)
    assert new > old
    assert is_epoch_name(new)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "lock",
        "20260101T000000Z-0011223344556677.bak",
        "20260101T000000Z-001122334455667",
        "20260101T000000Z-001122334455667G",
        "20261301T000000Z-0011223344556677",
        "99991231T235959Z-0011223344556677",  # nothing could follow it
    ],
)
def test_what_no_epoch_can_be_called_is_none(name: str) -> None:
    assert not is_epoch_name(name)
