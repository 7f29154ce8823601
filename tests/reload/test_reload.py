"""Thirty versions in thirty seconds under load; `make bench-reload` has 300, at 1,000 requests/s."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reload.reload import run


@pytest.mark.timeout(300)
def test_versions_change_under_load_and_no_request_fails_mixes_or_is_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AEGIS_POLICY__TIMEOUT_MS", "10000")  # whatever else runs on the machine
    figures = run(tmp_path, 30, 60.0, 0.8)
    assert figures["faults"] == []
    assert (figures["taken_up"], figures["versions_that_decided"]) == (30, 31)
    assert figures["cache"]["hit"] > 0
    assert figures["cache"]["miss"] > 0
