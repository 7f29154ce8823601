"""Puts `aics-witness`, a C2SP witness that others wrote, into .venv/bin for the tests.

Called by the Makefile after tools/install.py for development; standard library only. It lives in an
environment of its own outside the clone, `$XDG_CACHE_HOME/aegis/witness-<version>`, made from
tools/witness.lock by hash: its pins are not ours. Its metadata ask for Python 3.12; it runs on 3.11, so that
is overridden.
"""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent))
import opa

VERSION: Final = "0.1.0"
LOCK: Final = opa.ROOT / "tools/witness.lock"
LINK: Final = opa.ROOT / ".venv/bin/aics-witness"
HOME: Final = opa.cache().parent / f"witness-{VERSION}"


def main() -> None:
    if fits(LINK):
        return
    if not fits(HOME / "bin/aics-witness"):
        install()
    LINK.unlink(missing_ok=True)
    LINK.symlink_to(HOME / "bin/aics-witness")


def fits(binary: Path) -> bool:
    """Whether `binary` runs and is of the pinned version."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return False
    return bool(re.fullmatch(rf"aics-witness {re.escape(VERSION)}\s*", said.stdout))


def install() -> None:
    opa.say(f"installing aics-witness {VERSION} into {HOME} (once)")
    venv.create(HOME, with_pip=True, clear=True)
    pip = [str(HOME / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    locked = ["--require-hashes", "--no-deps", "--ignore-requires-python", "-r", str(LOCK)]
    opa.run([*pip, *locked], dict(opa.os.environ))
    if not fits(HOME / "bin/aics-witness"):
        sys.exit(f"{HOME}: aics-witness {VERSION} was installed, but does not run")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
