"""Makes .venv from a lock file, once: a second run with nothing changed returns at once.

    python3 tools/install.py run     what `make up` needs: requirements.lock
    python3 tools/install.py dev     what `make test` needs: requirements-dev.lock, the other's pins included

Called by the Makefile with any Python; uses the standard library only, and no syntax newer than Python 3.6,
so that an old one gets the sentence below instead of a syntax error. Every package is checked against its
hash. The project itself is installed in place, without its dependencies and without a network.
"""

import hashlib
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, ".installed")
BUILD = os.path.join(ROOT, "tools", "build.lock")
LOCKS = {
    "run": [os.path.join(ROOT, "requirements.lock")],
    "dev": [os.path.join(ROOT, "requirements-dev.lock")],
}
OLDEST, NEWEST = (3, 11), (3, 13)


def main(arguments):
    if len(arguments) != 1 or arguments[0] not in LOCKS:
        sys.exit("usage: install.py run|dev")
    profile = arguments[0]
    _check_python()
    if os.path.islink(VENV):  # somebody keeps it elsewhere, and keeps it up to date
        return
    wanted = {name: _digest(locks) for name, locks in LOCKS.items()}
    found = _stamps()
    if found.get(profile) == wanted[profile] or (profile == "run" and found.get("dev") == wanted["dev"]):
        return
    _make()
    print(f"installing the locked packages into .venv ({profile})", flush=True)
    # The stamp goes first: an install that was interrupted must not look finished.
    if os.path.exists(STAMP):
        os.remove(STAMP)
    for lock in [BUILD, *LOCKS[profile]]:
        _pip("install", "--require-hashes", "--no-deps", "-r", lock)
    _pip("install", "--no-deps", "--no-index", "--no-build-isolation", "--editable", ROOT)
    _pip("check")
    with open(STAMP, "w") as file:
        file.write(f"{profile} {wanted[profile]}\n")


def _check_python():
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        sys.exit(
            f"{sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}; this project runs on "
            "3.11 to 3.13. Choose one with: make PYTHON=python3.12 ..."
        )


def _digest(locks):
    """What an installation depends on: the locks, the project's own metadata, this file and the Python."""
    sha = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for path in [BUILD, os.path.join(ROOT, "pyproject.toml"), os.path.abspath(__file__), *locks]:
        with open(path, "rb") as file:
            sha.update(file.read())
    # A clone that was moved has scripts that name the old place.
    sha.update(ROOT.encode())
    return sha.hexdigest()


def _stamps():
    try:
        with open(STAMP) as file:
            return dict(line.split() for line in file)
    except (OSError, ValueError):
        return {}


def _make():
    """An empty environment of this Python, in place of one that another Python made."""
    try:
        import ensurepip  # noqa: F401 - Debian packs it apart, and `venv` fails without it half-way
        import venv
    except ImportError:
        sys.exit(
            f"{sys.executable} has no venv module. On Debian and Ubuntu: apt-get install python3-venv (or "
            "choose another Python with: make PYTHON=python3.12 ...)"
        )
    if not _fits():
        if os.path.isdir(VENV):
            shutil.rmtree(VENV)
        print(f"making .venv with {sys.executable}", flush=True)
        venv.create(VENV, with_pip=True)


def _fits():
    """Whether .venv works here and is of this Python."""
    try:
        said = subprocess.check_output(
            [_python(), "-c", "import sys, pip; print(sys.version_info[:2], sys.prefix)"],
            stderr=subprocess.DEVNULL,
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return said.decode().strip() == f"{sys.version_info[:2]!r} {VENV}"


def _python():
    return os.path.join(VENV, "bin", "python")


def _pip(*arguments):
    command = [_python(), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    if subprocess.call([*command, *arguments], cwd=ROOT) != 0:
        sys.exit(f"pip {arguments[0]} failed: see above")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
