"""The collector's file holds whole lines only, wherever it was killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.collector import cut


@pytest.mark.parametrize(
    ("stored", "left"),
    [
        (b"", b""),
        (b"one\ntwo\n", b"one\ntwo\n"),
        (b"one\ntw", b"one\n"),
        (b"tw", b""),
        (b"one\n" + b"x" * 200_000, b"one\n"),
        (b"x" * 200_000 + b"\ny", b"x" * 200_000 + b"\n"),
    ],
)
def test_a_line_that_it_was_killed_in_is_cut(tmp_path: Path, stored: bytes, left: bytes) -> None:
    file = tmp_path / "received.jsonl"
    file.write_bytes(stored)
    out = os.open(file, os.O_RDWR)
    cut(out)
    os.close(out)
    assert file.read_bytes() == left
