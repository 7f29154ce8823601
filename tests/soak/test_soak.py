"""A minute of the soak, so that it works when somebody wants an hour of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.soak import run


@pytest.mark.timeout(400)
def test_a_short_soak_loses_no_record_and_no_export(tmp_path: Path) -> None:
    figures, faults = run(tmp_path, 60, seed=3)
    assert not [fault for fault in faults if "grew" not in fault], figures  # a process just started does grow
    assert figures["answers_that_named_a_record"] > 100
    assert figures["collector"]["outcomes"] > 100
    assert figures["mcp_calls"]
    assert sum(figures["kills"].values()) >= 1
