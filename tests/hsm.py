"""A real PKCS#11 token for tests: SoftHSM2, in a directory of its own, with a root key in it.

token = Token(tmp_path)                          initialised, with a PIN file, no key yet
settings = token.settings(state)                 of a deployment whose root key is there
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pkcs11
import pytest

from authz.config import Settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import softhsm

PIN = "4711-token-pin"


class Token:
    """`away()` makes it unreachable until `back()`."""

    def __init__(self, directory: Path, label: str = "aegis") -> None:
        found = softhsm.module()
        if found is None:
            if os.environ.get("CI"):
                pytest.fail("SoftHSM2 is not installed: tools/softhsm.py brings it")
            pytest.skip("SoftHSM2 is not installed: apt-get install softhsm2")
        self.module, self.label = found, label
        self._tokens = directory / "tokens"
        self._tokens.mkdir(parents=True)
        self.config = directory / "softhsm2.conf"
        self.config.write_text(f"directories.tokendir = {self._tokens}\nobjectstore.backend = file\n")
        self.pin = directory / "root.pin"
        self.pin.touch(mode=0o600)
        self.pin.write_text(f"{PIN}\n")
        os.environ["SOFTHSM2_CONF"] = str(self.config)  # the library reads it when it is loaded
        options = ["--init-token", "--free", "--label", label, "--so-pin", "so-pin", "--pin", PIN]
        subprocess.run(["softhsm2-util", *options], check=True, capture_output=True, timeout=60)
        pkcs11.lib(str(found)).reinitialize()  # it reads its configuration once, and another test had one

    def settings(self, state: Path, **root: Any) -> Settings:
        """`root`: settings of that section."""
        whole = {"module": self.module, "token": self.label, "pin_file": self.pin} | root
        return Settings(deployment="aegis.test", worker="worker-0", state=state, root=whole)

    def away(self) -> None:
        self._tokens.rename(self._tokens.with_name("gone"))

    def back(self) -> None:
        self._tokens.with_name("gone").rename(self._tokens)
