"""Proves the ledger with the real verifier, and shows that it notices one changed bit.

In: a ledger directory and the trust file. Out: exit status and words of `aegis verify`, run as anybody would
run it: a process of its own that knows nothing but the files.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from authz.up import records
from authz.up.deployment import program

LEVEL: Final = 4
_LIMIT_S: Final = 600  # an hour of records takes minutes on a busy machine


@dataclass(frozen=True)
class Verification:
    """`status` is the exit status: 0 verified, 1 not verified, 2 could not run. `report` is `--json`'s."""

    status: int
    report: dict[str, Any]
    said: str


def verify(ledger: Path, trust: Path, config: Path | None = None) -> Verification:
    """Run `aegis verify` on all that it can check; with the settings, also what policy decides again."""
    command = [str(program("aegis")), "verify", str(ledger), "--trust", str(trust)]
    command += ["--level", str(LEVEL), "--config", str(config)] if config else []
    done = subprocess.run(  # noqa: S603 - our own command, no shell
        [*command, "--json"], capture_output=True, text=True, timeout=_LIMIT_S, check=False
    )
    report = orjson.loads(done.stdout) if done.stdout.startswith("{") else {}
    return Verification(done.returncode, report, done.stderr.strip())


def verify_with_flipped_bit(epoch: Path, decision_id: str, trust: Path) -> Verification:
    """Flip the lowest bit of one byte in the record of `decision_id`, in a copy, and verify the copy."""
    with tempfile.TemporaryDirectory(prefix="aegis-tampered-") as scratch:
        copy = Path(scratch) / epoch.name
        shutil.copytree(epoch, copy)
        for segment in sorted((copy / "entries").glob("*.jsonl")):
            data = bytearray(segment.read_bytes())
            place = data.find(decision_id.encode())
            if place >= 0:
                data[place + len(decision_id) - 1] ^= 1
                segment.write_bytes(data)
        return verify(copy, trust)


def sealed(epoch: Path) -> bool:
    """Whether the newest checkpoint covers every entry that is there now."""
    try:
        size = int((epoch / "checkpoint").read_text(encoding="utf-8").split("\n")[1])
    except FileNotFoundError:
        return False
    return size >= sum(1 for _ in records.entries(epoch))
