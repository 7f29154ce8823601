"""What the kernel says of its clock, as it is here, and as other kernels would say it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from authz import canonical
from authz.ledger import kernel_clock as module
from authz.ledger.kernel_clock import kernel_clock


def says(monkeypatch: pytest.MonkeyPatch, state: int, **told: int) -> dict[str, Any]:
    """What is made of a kernel's answer."""

    def adjtimex(reference: Any) -> int:
        timex = reference._obj
        assert timex.modes == 0  # anything else would set something
        for name, value in told.items():
            setattr(timex, name, value)
        return state

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(adjtimex=adjtimex))
    return kernel_clock()


def test_this_kernel_says_something_that_an_entry_can_hold() -> None:
    found = kernel_clock()
    assert found["state"] in ("synchronized", "unsynchronized", "unknown")
    assert canonical.parse(canonical.encode(found)) == found
    source = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    assert found["source"] == (source.read_text().strip() if source.exists() else "unknown")


def test_a_clock_that_is_kept_right(monkeypatch: pytest.MonkeyPatch) -> None:
    found = says(monkeypatch, 0, status=0x0001, max_error=15500, estimated_error=312, offset=-4)
    assert {name: found[name] for name in found if name != "source"} == {
        "state": "synchronized",
        "max_error_us": 15500,
        "estimated_error_us": 312,
        "offset_us": -4,
    }


def test_an_offset_in_nanoseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert says(monkeypatch, 0, status=0x2001, offset=-4_200_000)["offset_us"] == -4200


@pytest.mark.parametrize(("state", "status"), [(5, 0), (0, 0x0040), (5, 0x0040)])
def test_a_clock_that_nobody_keeps_right(monkeypatch: pytest.MonkeyPatch, state: int, status: int) -> None:
    assert says(monkeypatch, state, status=status)["state"] == "unsynchronized"


def test_a_kernel_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    found = says(monkeypatch, -1)
    assert (found["state"], found.keys()) == ("unknown", {"source", "state"})


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    assert kernel_clock()["state"] == "unknown"


def test_a_machine_without_a_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_SOURCE", tmp_path / "none")
    assert kernel_clock()["source"] == "unknown"
