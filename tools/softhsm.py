"""Puts SoftHSM2, a PKCS#11 token in software, where the tests find it: Debian's package, by apt as root.

Called by the Makefile for development; standard library only. Where it cannot be had, its tests say so: in CI
they fail, elsewhere they are skipped. It starts nothing, and the tests' tokens lie in scratch directories.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

PLACES: Final = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")


def module() -> Path | None:
    """SoftHSM's PKCS#11 library, if it and its tool are here."""
    found = next((Path(place) for place in PLACES if os.path.exists(place)), None)
    return found if shutil.which("softhsm2-util") else None


def main() -> None:
    if module() or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    print("installing Debian's softhsm2 for the tests (once)", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "softhsm2"]
    for command in (install, ["apt-get", "update", "-qq"], install):
        subprocess.call(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if module():
            return


if __name__ == "__main__":
    main()
