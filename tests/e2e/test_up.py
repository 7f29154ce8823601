"""`aegis up`, run as a newcomer runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import httpx
import pytest

from authz.up import proof, records
from authz.up.deployment import ROOT, program
from authz.up.places import LOOPBACK, Ports

LIMIT_S = 100
pytestmark = pytest.mark.timeout(LIMIT_S + 20)


def command(state: Path, ports: Ports, *options: str) -> list[str]:
    chosen = [
        option
        for field in fields(ports)
        for option in (f"--{field.name.replace('_', '-')}-port", str(getattr(ports, field.name)))
    ]
    return [str(program("aegis")), "up", "--state", str(state), *chosen, *options]


def once(state: Path, ports: Ports | None = None) -> subprocess.CompletedProcess[str]:
    line = command(state, ports or Ports.free(), "--once")
    return subprocess.run(line, capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=ROOT)


def left_behind(state: Path) -> list[str]:
    """Command lines of processes that know the state directory, and sockets below it."""
    mine = str(os.getpid())
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(state) in line and process.name != mine:
            lines.append(line)
    return lines + [str(path) for path in state.rglob("*") if path.is_socket()]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[Ports], subprocess.Popen[str]]]:
    """Starts `aegis up` without --once; what the test did not end is ended."""
    running: list[subprocess.Popen[str]] = []

    def start(ports: Ports) -> subprocess.Popen[str]:
        out = (tmp_path / "out").open("w")
        with out:
            line = command(tmp_path / "var", ports)
            running.append(subprocess.Popen(line, stdout=out, stderr=out, text=True, cwd=ROOT))
        return running[-1]

    yield start
    for process in running:
        process.terminate()
        process.wait(timeout=60)


def wait_for(file: Path, text: str, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + LIMIT_S
    while text not in file.read_text():
        assert process.poll() is None, file.read_text()
        assert time.monotonic() < end, file.read_text()
        time.sleep(0.05)


def test_once_plays_proves_and_leaves_nothing_behind_and_a_second_run_goes_on(tmp_path: Path) -> None:
    state = tmp_path / "var"
    first = once(state)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "NOT AS EXPECTED" not in first.stdout
    for text in ("egress_violation", "approval_required", "tool_not_permitted", "identity_invalid",
                 "malformed_path", "body_too_large", "engine_unavailable", "The ledger verifies",
                 "flipped does not verify"):  # fmt: skip
        assert text in first.stdout
    assert left_behind(tmp_path) == []

    exported = (state / "export/records/worker-0/records.jsonl").read_bytes().splitlines()
    assert len(exported) == sum(
        len(list(records.entries(log))) for log in records.epochs(state / "ledger/worker-0")
    )
    assert all(b'"@timestamp"' in row and b'"audit.signature"' in row for row in exported)

    second = once(state)
    assert second.returncode == 0, second.stdout + second.stderr
    old, new = records.epochs(state / "ledger/worker-0")
    opening = next(iter(records.entries(new)))
    closing = list(records.entries(old))[-1]
    assert closing["kind"] == "close"
    assert opening["kind"] == "open"
    assert opening["previous_log"] == closing["log"]
    assert opening["previous_size"] == closing["seq"] + 1
    assert proof.verify(state / "ledger", state / "trust.json").status == 0


def test_a_deep_directory_works_too(tmp_path: Path) -> None:
    state = tmp_path / "/".join(["deep" * 8] * 4) / "var"
    done = once(state)
    assert done.returncode == 0, done.stdout + done.stderr
    assert left_behind(tmp_path) == []


def test_a_taken_port_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        done = once(tmp_path / "var", replace(Ports.free(), envoy=port))
    assert done.returncode == 2
    assert f"port {port} on 127.0.0.1" in done.stderr
    assert "ENVOY_PORT" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "var/ledger").exists()


def test_it_serves_until_sigterm_and_a_second_one_is_refused(
    tmp_path: Path, started: Callable[[Ports], subprocess.Popen[str]]
) -> None:
    ports = Ports.free()
    process = started(ports)
    wait_for(tmp_path / "out", "Ctrl-C ends everything", process)
    header = (tmp_path / "var/run/clinical-agent.header").read_text().strip().partition(": ")
    with httpx.Client(proxy=f"http://{LOOPBACK}:{ports.envoy}", trust_env=False) as client:
        url = "http://internal-ehr.myorg.example/patients/42/records"
        assert client.get(url, headers={header[0]: header[2]}).status_code == 200
    other = once(tmp_path / "var", Ports.free())
    assert other.returncode == 2
    assert f"in use by another `aegis up` (process {process.pid})" in other.stderr

    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert left_behind(tmp_path) == []
    assert not (tmp_path / "var/run/clinical-agent.header").exists()
    assert proof.verify(tmp_path / "var/ledger", tmp_path / "var/trust.json").status == 0


@pytest.mark.parametrize("moment", ["policy ", "follower ", "opa ", "worker ", "envoy "])
def test_ctrl_c_during_the_start_leaves_nothing_behind(
    moment: str, tmp_path: Path, started: Callable[[Ports], subprocess.Popen[str]]
) -> None:
    process = started(Ports.free())
    wait_for(tmp_path / "out", moment, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) in (0, 130)
    assert left_behind(tmp_path) == []


def test_a_policy_that_does_not_compile_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    policy = tmp_path / "rego"
    policy.mkdir()
    (policy / "broken.rego").write_text("package aegis\n\ndecision := nowhere\n")
    done = subprocess.run(
        [*command(tmp_path / "var", Ports.free(), "--once"), "--policy", str(policy)],
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "broken.rego" in done.stderr
    assert "Traceback" not in done.stderr
    assert left_behind(tmp_path) == []
