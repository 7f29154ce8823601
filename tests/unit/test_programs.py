"""Programs are found where make puts them, then where the user has them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from authz import programs


def executable(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


def test_what_lies_beside_this_python_goes_before_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv/bin/python"))
    monkeypatch.setenv("PATH", str(tmp_path / "usr/bin"))
    assert programs.find("tool") is None
    on_path = executable(tmp_path / "usr/bin/tool")
    assert programs.find("tool") == on_path
    beside = executable(tmp_path / "venv/bin/tool")
    assert programs.find("tool") == beside
    beside.chmod(0o644)
    assert programs.find("tool") == on_path


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert programs.find(str(executable(tmp_path / "opa"))) == tmp_path / "opa"
    assert programs.find(str(tmp_path / "none")) is None
