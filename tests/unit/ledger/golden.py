"""The published vector `tlog-golden.txt`, taken apart: a proof file made by other people's tools."""

from __future__ import annotations

import base64
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "vectors" / "tlog-golden.txt").read_text()
_HEAD, _, _REST = TEXT.partition("c2sp.org/tlog-proof@v1\n")
_PROOF, _, _NOTE = _REST.partition("\n\n")
LOG_VKEY, WITNESS_VKEY = (line.split()[-1] for line in _HEAD.splitlines())
NOTE = _NOTE.encode()
INDEX = int(_PROOF.splitlines()[0].removeprefix("index "))
PROOF = [base64.b64decode(line) for line in _PROOF.splitlines()[1:]]
ENTRIES = [b"one", b"two", b"three", b"four", b"five"]
LOG = "egress.example.com/shard/a-0001"
LOG_SEED, WITNESS_SEED = bytes(range(0x20)), bytes(range(0x20, 0x40))
