"""Puts `prometheus` and `promtool` into .venv/bin for the tests of deploy/: from PATH, or Debian's package.

Called by the Makefile after tools/install.py for development; standard library only. In this order:

1. both on PATH, if they are 2.42 or newer (Debian 12's, the oldest that the tests were run with);
2. the cache, `$XDG_CACHE_HOME/aegis/prometheus/usr/bin`, outside the clone;
3. Debian's package, which apt checks against the archive's signature, unpacked into that cache. It is not
   installed: that would start a service on this machine;
4. `go install` of the pinned version, into that cache, as tools/opa.py does with OPA.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent))
import opa

PROGRAMS: Final = ("prometheus", "promtool")
BIN: Final = opa.ROOT / ".venv/bin"
OLDEST: Final = (2, 42)
PINNED: Final = "v0.316.0"  # the module's name for Prometheus 3.16.0
MODULE: Final = "github.com/prometheus/prometheus/cmd"
CACHE: Final = opa.cache().parent / "prometheus"


def main() -> None:
    if fits(BIN):
        return
    directory = on_path() or cached() or unpacked() or built()
    for name in PROGRAMS:
        (BIN / name).unlink(missing_ok=True)
        (BIN / name).symlink_to(directory / name)


def fits(directory: Path) -> bool:
    """Whether both programs in `directory` run and are new enough."""
    return all(version(directory / name) >= OLDEST for name in PROGRAMS)


def version(binary: Path) -> tuple[int, ...]:
    try:
        said = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=60, check=False
        ).stdout
    except OSError:
        return ()
    found = re.match(r"\w+, version (\d+)\.(\d+)", said)
    # Built by `go install` it does not know its version; only `built` puts such a one here.
    unnamed = binary.resolve().is_relative_to(CACHE) and re.match(r"\w+, version\s", said)
    return (int(found[1]), int(found[2])) if found else OLDEST if unnamed else ()


def on_path() -> Path | None:
    for directory in map(Path, filter(None, os.environ.get("PATH", "").split(os.pathsep))):
        if directory.absolute() != BIN and fits(directory):
            return directory.absolute()
    return None


def cached() -> Path | None:
    directory = CACHE / "usr/bin"
    return directory if fits(directory) else None


def unpacked() -> Path | None:
    """Debian's package in the cache; None where there is no apt, or it has no such package."""
    if not all(opa.shutil.which(program) for program in ("apt-get", "dpkg-deb")):
        return None
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="aegis-prometheus-") as work:
        opa.say(f"unpacking Debian's prometheus into {CACHE} (once)")
        fetch = ["apt-get", "download", "-qq", "prometheus"]
        if quietly(fetch, work) and os.geteuid() == 0:  # a fresh machine has no lists of packages
            quietly(["apt-get", "update", "-qq"], work)
            quietly(fetch, work)
        for package in Path(work).glob("prometheus_*.deb"):
            quietly(["dpkg-deb", "--extract", str(package), str(CACHE)], work)
    return cached()


def quietly(command: list[str], directory: str) -> int:
    return subprocess.call(command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def built() -> Path:
    target = CACHE / "usr/bin"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=CACHE) as scratch:
        work = Path(scratch)
        go = opa.go_on_path() or opa.go_from_pypi(work / "go")
        opa.say(f"building Prometheus {PINNED} with {go} (once, a few minutes; kept in {CACHE})")
        modules = [f"{MODULE}/{name}@{PINNED}" for name in PROGRAMS]
        # The discovery of clouds is most of it, and the tests name what they scrape.
        command = [str(go), "install", "-trimpath", "-tags", "remove_all_sd", *modules]
        opa.run(command, opa.go_environment(work))
        for name in PROGRAMS:
            (work / "bin" / name).replace(target / name)
    if not fits(target):
        sys.exit(f"{MODULE} was built, but does not run here: put prometheus and promtool on PATH")
    return target


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
