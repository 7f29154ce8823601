"""Whole lines many at a time: every byte once and in order, however the reads fall, and with a bound."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.ledger import files

BLOCK, MAX_LINE = 16, 40


class Trickle(io.RawIOBase):
    """Gives as many bytes at once as `steps` say, in turn."""

    def __init__(self, data: bytes, steps: list[int]) -> None:
        self._data, self._steps, self._taken = data, steps, 0

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        step = self._steps[self._taken % len(self._steps)]
        part = self._data[: min(step, len(buffer))]
        self._data, self._taken = self._data[len(part) :], self._taken + 1
        buffer[: len(part)] = part
        return len(part)


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BLOCK", BLOCK)
        patch.setattr(files, "MAX_LINE", MAX_LINE)
        yield


@given(st.lists(st.binary(max_size=MAX_LINE - 1), max_size=20), st.lists(st.integers(1, 50), min_size=1))
def test_blocks_are_whole_lines_and_all_of_them(entries: list[bytes], steps: list[int]) -> None:
    data = b"".join(entry.replace(b"\n", b"x") + b"\n" for entry in entries)
    found = list(files.blocks(Trickle(data, steps)))
    assert b"".join(found) == data
    assert all(block.endswith(b"\n") and len(block) <= BLOCK + MAX_LINE for block in found)


@given(
    st.binary(min_size=1, max_size=MAX_LINE - 1), st.integers(0, 5), st.lists(st.integers(1, 50), min_size=1)
)
def test_an_incomplete_line_comes_last(rest: bytes, whole: int, steps: list[int]) -> None:
    rest = rest.replace(b"\n", b"x")
    *before, last = files.blocks(Trickle(b"entry\n" * whole + rest, steps))
    assert (b"".join(before), last) == (b"entry\n" * whole, rest)


@pytest.mark.parametrize("length", [MAX_LINE, MAX_LINE + 1, 10 * MAX_LINE])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_of_a_line_without_end_no_more_is_read_than_the_bound(length: int, step: int) -> None:
    found = list(files.blocks(Trickle(b"entry\n" + b"x" * length, [step])))
    assert b"".join(found) == b"entry\n" + b"x" * MAX_LINE
