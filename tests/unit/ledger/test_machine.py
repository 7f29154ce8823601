"""Telling machines and directories apart."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import UUID

from authz.ledger.machine import boot_id, directory_id


def test_a_boot_has_an_id_that_stays() -> None:
    assert UUID(boot_id()) == UUID(boot_id())


def test_a_directory_that_is_renamed_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    before = directory_id(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert directory_id(tmp_path / "b") == before


def test_a_copy_is_another_directory(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert directory_id(tmp_path / "a") != directory_id(tmp_path / "b")
