"""Faults in the system calls of a running process, put there by strace(1): delays and errors.

    with injected(processes, "worker", "fdatasync:error=EIO"):
        ...                                                    every fdatasync of the worker fails

The calls are the kernel's, the process is the real one and knows nothing of it. strace comes from Debian
(`apt-get install strace`); where it is missing, or may not trace, such a test is skipped, and fails in CI.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from authz.up.processes import Processes, StartFailed

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
