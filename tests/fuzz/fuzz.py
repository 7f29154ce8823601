"""Runs one target under atheris until its time is over: exit status 0 when nothing was found.

python -m tests.fuzz.fuzz TARGET [libFuzzer's options, e.g. -max_total_time=60]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["authz"]):
    from tests.fuzz.targets import SEEDS, TARGETS


def main() -> None:
    name, *options = sys.argv[1:]
    corpus = Path(tempfile.mkdtemp(prefix="aegis-corpus-"))
    for number, seed in enumerate(SEEDS[name]):
        (corpus / str(number)).write_bytes(seed)
    atheris.Setup([sys.argv[0], f"-artifact_prefix={corpus}/", *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
