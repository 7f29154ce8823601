"""The oracle itself is held against the published vectors, so that it can be trusted in other tests."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest

from tests.unit.ledger import oracle

VECTORS = Path(__file__).parents[2] / "vectors" / "ledger"


def _public() -> bytes:
    x = json.loads((VECTORS / "trust.json").read_bytes())["record_keys"][0]["x"]
    return base64.urlsafe_b64decode(x + "=")


def _copy(tmp_path: Path) -> Path:
    epoch = tmp_path / "20260101T000000Z-0011223344556677"
    shutil.copytree(VECTORS / "entries", epoch / "entries")
    (epoch / "entries" / "00000000.jsonl").chmod(0o644)
    return epoch


def test_the_published_ledger_reads_whole_and_has_the_published_root(tmp_path: Path) -> None:
    epoch = _copy(tmp_path)
    expected = json.loads((VECTORS / "expected.json").read_bytes())
    assert len(oracle.read(epoch, _public())) == expected["size"]
    root = base64.b64decode(expected["root_base64"]).hex()
    assert oracle.tip(epoch) == (expected["size"], root)


@pytest.mark.parametrize("position", [0, 40, 700, 2000, -3])
def test_a_flipped_bit_is_not_read(tmp_path: Path, position: int) -> None:
    epoch = _copy(tmp_path)
    file = epoch / "entries" / "00000000.jsonl"
    stored = bytearray(file.read_bytes())
    stored[position] ^= 1
    file.write_bytes(stored)
    with pytest.raises(Exception):  # noqa: B017 - whatever the libraries say, it must not pass
        oracle.read(epoch, _public())
