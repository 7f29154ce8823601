"""Any bytes at all are written over a sealed ledger: the verifier never raises, and never believes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import ledgers

FILES = ("checkpoint", "entries/00000000.jsonl")
PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"\n", b"\n\n", b"\r\n", b"{}\n", b"null", b"\x00", b'"seq":2', b"[" * 600, "— ".encode()]
    ),
)


@pytest.fixture(scope="module")
def epoch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ledgers.write(tmp_path_factory.mktemp("rewritten"), 3)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FILES), st.integers(1, 3), st.data())
def test_what_is_verified_is_what_was_sealed(epoch: Path, name: str, level: int, data: st.DataObject) -> None:
    file = epoch / name
    stored = file.read_bytes()
    start = data.draw(st.integers(0, len(stored)), label="start")
    end = data.draw(st.one_of(st.just(start), st.integers(start, len(stored))), label="end")
    changed = stored[:start] + data.draw(PIECES, label="piece") + stored[end:]
    file.write_bytes(changed)
    try:
        report = ledgers.check(epoch, level)
    finally:
        file.write_bytes(stored)
    if report.verified:
        (log,) = report.logs
        assert log.sealed == 3
        assert changed.startswith(stored)
        added = changed[len(stored) :]
        assert name != "checkpoint" or not added
        if level == 1:  # which counts lines and says that these are not sealed
            assert log.unsealed == added.count(b"\n")
        else:
            assert (log.unsealed, log.torn_bytes) == (0, len(added))
