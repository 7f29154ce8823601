"""Faults in the system calls of a running process, put there by strace(1): delays and errors.

    with injected(processes, "worker", "fdatasync:error=EIO"):
        ...                                                    every fdatasync of the worker fails
    with forked(live, under("fsync:signal=KILL:when=3")) as child:
        os.waitpid(child, 0)                                   a child dies as its third fsync begins

The calls are the kernel's, the process is the real one and knows nothing of it. strace comes from Debian
(`apt-get install strace`); where it is missing, or may not trace, such a test is skipped, and fails in CI.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop

from authz.up.processes import Processes, StartFailed

# The calls by which a process changes what is on a disk, or gets hold of it.
KINDS: Final = (
    "openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "mkdir", "rename", "link", "unlink"
)  # fmt: skip
_numbers = count(1)


@contextmanager
def injected(processes: Processes, name: str, fault: str, path: Path | None = None) -> Iterator[None]:
    """`fault` is `SYSCALL:WHAT` as in strace's `-e inject=`; with `path` only for calls that concern it."""
    command = [*under(fault), "-p", str(processes.pid(name)), *(("-P", str(path)) if path else ())]
    tracer = f"strace-{next(_numbers)}"
    processes.start(tracer, *command)
    try:
        try:
            processes.wait(tracer, lambda: "attached" in processes.log(tracer).read_text(), "attaching")
        except StartFailed as error:
            _missing(str(error))
        yield
    finally:
        processes.stop(tracer)


@contextmanager
def forked(live: Callable[[], Coroutine[Any, Any, int | None]], tracer: list[str]) -> Iterator[int]:
    """A child that begins to `live` once strace has attached to it; its id. The block waits for it."""
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(uvloop.run(live()) or 0)
    _, status = os.waitpid(child, os.WUNTRACED)
    assert os.WIFSTOPPED(status), status
    with subprocess.Popen([*tracer, "-p", str(child)], stderr=subprocess.PIPE, text=True) as tracing:
        assert tracing.stderr
        line = tracing.stderr.readline()
        assert "attached" in line, line
        os.kill(child, signal.SIGCONT)
        yield child


def under(fault: str) -> list[str]:
    """What comes before a command that is to run with `fault` from its start."""
    strace = shutil.which("strace") or _missing("no strace: apt-get install strace")
    return [
        strace,
        "-f",
        "-o",
        "/dev/null",
        "-e",
        f"trace={fault.partition(':')[0]}",
        "-e",
        f"inject={fault}",
    ]


def _missing(what: str) -> str:
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
