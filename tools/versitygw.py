"""Puts `versitygw`, an S3 server with object lock, into .venv/bin for the tests.

Called by the Makefile after tools/install.py for development; standard library only. In this order: the cache
outside the clone, `$XDG_CACHE_HOME/aegis/versitygw-<version>`; `go install` of the pinned version, into that
cache, as tools/opa.py does with OPA.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent))
import opa

VERSION: Final = "v1.8.0"
MODULE: Final = f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"
LINK: Final = opa.ROOT / ".venv/bin/versitygw"
HOME: Final = opa.cache().parent / f"versitygw-{VERSION}"


def main() -> None:
    if LINK.resolve() == HOME / "versitygw" and runs(LINK):
        return
    if not runs(HOME / "versitygw"):
        build()
    LINK.unlink(missing_ok=True)
    LINK.symlink_to(HOME / "versitygw")


def runs(binary: Path) -> bool:
    """Built by `go install` it does not know its version; only `build` puts one here."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return False
    return said.returncode == 0


def build() -> None:
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=HOME) as scratch:
        work = Path(scratch)
        go = opa.go_on_path() or opa.go_from_pypi(work / "go")
        opa.say(f"building versitygw {VERSION} with {go} (once, a few minutes; kept in {HOME})")
        opa.run([str(go), "install", "-trimpath", MODULE], opa.go_environment(work))
        (work / "bin/versitygw").replace(HOME / "versitygw")
    if not runs(HOME / "versitygw"):
        sys.exit(f"{MODULE} was built, but does not run here")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
