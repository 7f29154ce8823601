"""A real C2SP witness in a process of its own: `aics-witness`, which others wrote.

with witness(tmp_path) as w1:
    w1.trust(log)                          it cosigns for this log from now on
    policy = w1.policy()                   a policy file that wants it
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from authz.ledger import keys
from authz.up.deployment import program
from tests import ledgers

STARTS_WITHIN_S = 30
_LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:[0-9]+)")


class RealWitness:
    """Its files lie in `directory`; `process` is there while it serves."""

    def __init__(self, directory: Path, name: str) -> None:
        self._config, self._log = directory / "witness.json", directory / "witness.log"
        directory.mkdir(parents=True, exist_ok=True)
        self.name, self.url = name, ""
        self.vkey = self._run("init", "--name", name).strip()
        self._process: subprocess.Popen[bytes] | None = None

    def trust(self, log: str, seed: bytes = ledgers.LOG_SEED) -> None:
        self.add_log(log, keys.vkey(log, keys.public_key(seed)))

    def add_log(self, log: str, vkey: str) -> None:
        self._run("add-log", "--origin", log, "--vkey", vkey)
        if self._process:
            self._process.send_signal(signal.SIGHUP)
            self._until(r"reloaded")

    def policy(self) -> str:
        return f"witness w1 {self.vkey} {self.url}\nquorum w1\n"

    def start(self) -> None:
        with self._log.open("wb") as output:
            command = [program("aics-witness"), "serve", "--config", self._config, "--listen", "127.0.0.1:0"]
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        self.url = self._until(_LISTENING.pattern)[1]

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def _run(self, command: str, *arguments: str) -> str:
        done = subprocess.run(
            [program("aics-witness"), command, "--config", self._config, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PATH": os.environ["PATH"]},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _until(self, pattern: str) -> re.Match[str]:
        """Wait for a line in its log."""
        assert self._process
        for _ in range(STARTS_WITHIN_S * 100):
            found = re.search(pattern, self._log.read_text())
            if found:
                return found
            try:
                self._process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
            break
        raise AssertionError(self._log.read_text())


@contextmanager
def witness(directory: Path, name: str = "witness.test/real") -> Iterator[RealWitness]:
    made = RealWitness(directory, name)
    made.start()
    try:
        yield made
    finally:
        made.stop()
