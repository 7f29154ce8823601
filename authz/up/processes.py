"""Processes by name: started each in a session of its own, waited for by condition, ended in reverse order.

In: commands. Out: running processes whose output goes to `<logs>/<name>.log`. Used by `aegis up`, the
end-to-end tests and the benchmark. It never ends a process that it did not start, and leaves none behind: not
on an error, not on Ctrl-C, and on Linux not even when this process is killed (`tether.py`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self

from authz import programs
from authz.errors import AegisError

START_WITHIN_S: Final = 30.0
STOP_WITHIN_S: Final = 20.0  # more than a worker's drain and a last sync
_LOOK_EVERY_S: Final = 0.02
_LOG_END: Final = 3000  # bytes of a failed process's log that are shown


class StartFailed(AegisError):
    """Something cannot be started here: the text says what, why, and shows the end of its log."""


class Processes:
    """Running processes; a context manager that ends them."""

    def __init__(self, logs: Path, environment: Mapping[str, str] | None = None) -> None:
        self._logs = logs
        self._environment = dict(os.environ if environment is None else environment)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start `command` as `name`, which must not be running. Raises StartFailed if there is no such
        program.
        """
        if name in self._running:
            raise ValueError(f"{name} is running already")
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as out:
            process = subprocess.Popen(  # noqa: S603 - the command is the caller's own, no shell
                programs.tethered(*command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._environment,
                start_new_session=True,
            )
        self._running[name] = process
        return process

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def names(self) -> list[str]:
        """Of what was started and not stopped, in the order of starting."""
        return list(self._running)

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def status(self, name: str) -> int | None:
        """Exit status of `name` if it has ended, negative for a signal."""
        return self._running[name].poll()

    def ended(self) -> str:
        """Which process has ended by itself, with the end of its log; "" while all run."""
        for name, process in self._running.items():
            if process.poll() is not None:
                return f"{name} ended with status {process.returncode}{self._said(name)}"
        return ""

    def wait(self, name: str, ready: Callable[[], bool], what: str, seconds: float = START_WITHIN_S) -> None:
        """Until `ready()`. Raises StartFailed with the end of the log when `name` ended before, or when
        `what` was not so within `seconds`.
        """
        end = time.monotonic() + seconds
        while not ready():
            status = self._running[name].poll()
            if status is not None:
                raise StartFailed(f"{name} ended with status {status} before {what}{self._said(name)}")
            if time.monotonic() > end:
                raise StartFailed(f"{name}: {what}: not within {seconds:.0f} s{self._said(name)}")
            time.sleep(_LOOK_EVERY_S)

    def signal(self, name: str, number: int) -> None:
        self._running[name].send_signal(number)

    def stop(self, name: str, seconds: float = STOP_WITHIN_S) -> int:
        """End `name`: SIGTERM, and SIGKILL to its whole session after `seconds`. Its exit status."""
        process = self._running[name]
        if process.poll() is None:
            process.terminate()
            process.send_signal(signal.SIGCONT)  # a stopped process would not hear of it
        status = self._ended(process, seconds)
        del self._running[name]
        return status

    def kill(self, name: str) -> None:
        """SIGKILL, as a crash would be."""
        process = self._running[name]
        process.kill()
        process.wait()
        del self._running[name]

    def close(self) -> None:
        """End everything, the last one started first. Signals wait until that is done."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            for name in reversed(list(self._running)):
                self.stop(name)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _said(self, name: str) -> str:
        said = self.log(name).read_bytes()[-_LOG_END:].decode(errors="replace").strip()
        return f"\nthe end of {self.log(name)}:\n{said}" if said else f"\n{self.log(name)} is empty"

    @staticmethod
    def _ended(process: subprocess.Popen[bytes], seconds: float) -> int:
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # it leads its session, so its id is the group's
            return process.wait()
