"""Runs the `opa` command for building and analysing; a failure is PolicyRejected with opa's own words.

Used when a version is made, never while a request is decided.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from authz import programs
from authz.errors import PolicyRejected

TIMEOUT_S: Final = 120
_MOST_TEXT: Final = 4000


class OpaTool:
    """The `opa` binary at `path`; for a bare name, the one beside this Python or on PATH."""

    def __init__(self, path: str = "opa") -> None:
        self._path = str(programs.find(path) or path)

    def run(self, arguments: Sequence[str], directory: Path) -> bytes:
        """Standard output of `opa ARGUMENTS` run inside `directory`."""
        try:
            done = subprocess.run(  # noqa: S603 - arguments are ours, no shell
                [self._path, *arguments], cwd=directory, capture_output=True, timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PolicyRejected(f"{self._path} {arguments[0]}: {error}") from None
        if done.returncode != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise PolicyRejected(f"opa {arguments[0]}: {said[:_MOST_TEXT]}")
        return done.stdout

    def json(self, arguments: Sequence[str], directory: Path) -> Any:
        """The same, as the JSON it printed."""
        printed = self.run(arguments, directory)
        try:
            return orjson.loads(printed)
        except orjson.JSONDecodeError:  # a number beyond a double, which Rego may hold
            return json.loads(printed)

    def version(self) -> str:
        """E.g. `1.22.0`."""
        words = self.run(["version"], Path()).decode().split()
        return words[words.index("Version:") + 1] if "Version:" in words[:-1] else "unknown"
