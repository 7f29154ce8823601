"""Half a minute of the soak, so that it works when somebody wants half an hour of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.stack import running
from tests.soak.soak import judge, play


@pytest.mark.timeout(240)
async def test_a_short_soak_loses_no_record(tmp_path: Path) -> None:
    with running(tmp_path) as stack:
        seen = await play(stack, 30, seed=3)
        figures, faults = judge(stack, seen)
    assert not [fault for fault in faults if "grew" not in fault], figures  # a process just started does grow
    assert figures["with_record"] > 100
    assert seen.kills.total() >= 1
