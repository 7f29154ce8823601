"""Where things are: the state directory, a private directory for sockets, the ports; and who may use them.

In: what the command line says. Out: paths and ports that were checked before anything was started. Used by
`aegis up`, the end-to-end tests and the benchmark.

    var/run/        0700: lock, configurations written anew each time, sockets (where their paths fit)
    var/log/        what each process said, and Envoy's access log
    var/keys/ var/ledger/ var/bundles/ var/trust.json        as the worker and the follower have them
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Final

from authz.up.processes import StartFailed

LOOPBACK: Final = "127.0.0.1"
LONGEST_SOCKET_PATH: Final = 107  # bytes of sun_path on Linux, less its end (unix(7))
_CANDIDATES: Final = range(20_000, 32_000)
_LONGEST_NAME: Final = len("/envoy-admin.sock.tmp")


def _taken(port: int) -> str | None:
    """Why `port` cannot be listened on."""
    try:
        # Without SO_REUSEPORT: Envoy would share a port that another Envoy listens on.
        socket.create_server((LOOPBACK, port)).close()
    except OSError as error:
        return error.strerror
    return None


@dataclass(frozen=True)
class Ports:
    """TCP ports on loopback; the names are those of the options (`--envoy-port`, `make up ENVOY_PORT=`)."""

    envoy: int = 10000
    upstream: int = 10001
    bundles: int = 8282
    metrics: int = 9464
    follower_metrics: int = 9465

    @classmethod
    def free(cls) -> Ports:
        """Ports that nothing listens on now, below those that the kernel gives to outgoing connections."""
        candidates = random.SystemRandom().sample(_CANDIDATES, len(_CANDIDATES))
        free = (port for port in candidates if _taken(port) is None)
        return cls(*islice(free, len(fields(cls))))

    def check(self) -> None:
        """Raises StartFailed naming the port and the setting of the first that cannot be had."""
        taken: dict[int, str] = {}
        for name, port in asdict(self).items():
            choose = f"--{name.replace('_', '-')}-port (make up {name.upper()}_PORT=...)"
            if port in taken:
                raise StartFailed(f"port {port} is wanted twice, by {taken[port]} and {choose}")
            taken[port] = choose
            if error := _taken(port):
                raise StartFailed(f"port {port} on {LOOPBACK}: {error}: choose another with {choose}")


@dataclass(frozen=True)
class Places:
    """The directories of one run."""

    state: Path  # absolute
    sockets: Path  # private to this user, short enough for a socket's path

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def check_socket(self) -> Path:
        return self.sockets / "check.sock"

    @property
    def outcomes_socket(self) -> Path:
        return self.sockets / "outcomes.sock"

    @property
    def stream_socket(self) -> Path:
        return self.sockets / "ledger.sock"

    @property
    def opa_socket(self) -> Path:
        return self.sockets / "opa.sock"

    @property
    def admin_socket(self) -> Path:
        return self.sockets / "envoy-admin.sock"


@contextmanager
def occupied(state: Path) -> Iterator[Places]:
    """Hold the state directory for one run, and clean up its sockets afterwards.

    Raises StartFailed when another run holds it, or when it cannot be written.
    """
    state = state.absolute()
    run = state / "run"
    try:
        run.mkdir(parents=True, exist_ok=True)
        run.chmod(0o700)
        (state / "log").mkdir(exist_ok=True)
        lock = (run / "up.lock").open("a+")
    except OSError as error:
        raise StartFailed(f"{error.filename}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise StartFailed(
                f"{state} is in use by another `aegis up` (process {lock.read().strip() or 'unknown'}): "
                "stop that one first, or choose another directory with --state"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        with _sockets(run) as sockets:
            yield Places(state, sockets)


@contextmanager
def _sockets(run: Path) -> Iterator[Path]:
    """`run` itself, or a short private directory where a socket's path below `run` would be too long."""
    short = None
    if len(os.fsencode(run)) + _LONGEST_NAME > LONGEST_SOCKET_PATH:
        base = os.environ.get("XDG_RUNTIME_DIR", "")
        if not os.access(base, os.W_OK | os.X_OK) or len(base) > LONGEST_SOCKET_PATH // 2:
            base = "/tmp"  # noqa: S108 - mkdtemp makes a directory of mode 0700 that nobody can guess
        short = Path(tempfile.mkdtemp(prefix="aegis-", dir=base))
    directory = short or run
    try:
        for left in directory.glob("*.sock*"):  # by a run that was killed
            left.unlink()
        yield directory
    finally:
        for left in directory.glob("*.sock*"):
            left.unlink()
        if short:
            shutil.rmtree(short)
