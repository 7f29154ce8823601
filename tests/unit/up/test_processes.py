"""Processes are started, waited for and ended; none is left behind, whatever goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from authz.up.processes import Processes, StartFailed

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
DEAF = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True);"
    "time.sleep(600)",
)


def alive(pid: int) -> bool:
    """Whether a process is there and not only waits for its parent to notice its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.02)


def test_closing_ends_in_reverse_order_of_start(tmp_path: Path) -> None:
    order = tmp_path / "order"
    tell = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        f"    open({str(order)!r}, 'a').write(sys.argv[1])\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    with Processes(tmp_path / "log") as processes:
        for name in "abc":
            processes.start(name, sys.executable, "-c", tell, name)
            processes.wait(name, lambda name=name: processes.log(name).stat().st_size > 0, "saying so")
    assert order.read_text() == "cba"


def test_a_process_that_ends_early_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("oracle", sys.executable, "-c", "import sys; print('no omens today'); sys.exit(7)")
        with pytest.raises(
            StartFailed, match=r"oracle ended with status 7 before speaking(.|\n)*no omens today"
        ):
            processes.wait("oracle", lambda: False, "speaking")


def test_waiting_is_bounded(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("sleeper", *SLEEP)
        with pytest.raises(StartFailed, match="sleeper: waking up: not within 0 s"):
            processes.wait("sleeper", lambda: False, "waking up", seconds=0.1)


def test_a_program_that_is_not_there_ends_by_itself_and_is_named(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("ghost", "/nonexistent/program")
        with pytest.raises(StartFailed, match=r"ghost ended with status 1(.|\n)*No such file"):
            processes.wait("ghost", lambda: False, "appearing")


def test_nothing_is_left_when_the_block_raises(tmp_path: Path) -> None:
    pids: list[int] = []

    def fail() -> None:
        with Processes(tmp_path) as processes:
            pids.append(processes.start("sleeper", *SLEEP).pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not alive(pids[0])


def test_a_process_that_ignores_sigterm_is_killed_after_a_bound(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        pid = processes.start("deaf", *DEAF).pid
        processes.wait("deaf", lambda: processes.log("deaf").stat().st_size > 0, "being deaf")
        assert processes.stop("deaf", seconds=0.2) == -signal.SIGKILL
    assert not alive(pid)


def test_a_stopped_process_can_be_ended(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        pid = processes.start("sleeper", *SLEEP).pid
        processes.signal("sleeper", signal.SIGSTOP)
        assert processes.stop("sleeper") == -signal.SIGTERM
    assert not alive(pid)


def test_a_name_stands_for_one_process(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("sleeper", *SLEEP)
        with pytest.raises(ValueError, match="running already"):
            processes.start("sleeper", *SLEEP)


def test_a_process_that_ended_by_itself_is_told(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("sleeper", *SLEEP)
        processes.start("short", sys.executable, "-c", "print('that was all')")
        until(processes.ended)
        assert processes.ended().startswith("short ended with status 0")
        assert "that was all" in processes.ended()


def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    parent = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from authz.up.processes import Processes
        processes = Processes(Path({str(tmp_path)!r}))
        print(processes.start("child", {SLEEP[0]!r}, *{SLEEP[1:]!r}).pid, flush=True)
        time.sleep(600)
        """
    )
    started = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    with started:
        assert started.stdout
        child = int(started.stdout.readline())
        until(lambda: os.readlink(f"/proc/{child}/exe") and b"sleep(600)" in cmdline(child))
        started.kill()
    until(lambda: not alive(child))


def cmdline(pid: int) -> bytes:
    """The last argument of a process, after the tether has become the command."""
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return b"" if b"tether" in b"".join(arguments) else b"".join(arguments)
