"""A real deployment is complete while it runs and after it stopped; one log taken away, it is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from authz.ledger import reader
from authz.up import records
from authz.up.deployment import program
from tests.e2e.stack import Stack, running

pytestmark = pytest.mark.timeout(170)
HEADS_S = 0.5


def complete(stack: Stack, *arguments: str, ledger: Path | None = None) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [
            program("aegis"),
            *("complete", str(ledger or stack.ledger.parent), "--trust", str(stack.deployment.trust)),
            *("--heads", "20", "--after", "10", "--json", *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def outcomes(stack: Stack) -> int:
    (epoch,) = records.epochs(stack.ledger)
    return sum(entry["kind"] == "outcome" for entry in records.entries(epoch))


def kinds(stack: Stack) -> set[str]:
    (epoch,) = records.epochs(stack.ledger.with_name("control"))
    return {entry["kind"] for entry in records.entries(epoch)}


def ask(stack: Stack, count: int) -> None:
    with stack.client() as client:
        for number in range(count):
            client.get(f"http://internal-ehr.myorg.example/patients/{number}/records")


def until(condition: Any, within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def reported_until(stack: Stack) -> datetime:
    """Now, once every log was reported after it."""
    control, now = stack.ledger.with_name("control"), datetime.now(UTC)

    def heads() -> bool:
        last = reader.last_entry(records.epochs(control)[-1])
        return last["kind"] == "log_head" and datetime.fromisoformat(last["timestamp"]) > now

    until(heads)
    return now


def test_what_a_deployment_recorded_is_complete_and_a_log_that_is_gone_is_missing(tmp_path: Path) -> None:
    with running(tmp_path / "var", follower={"heads_s": HEADS_S}) as stack:
        start = reported_until(stack)
        ask(stack, 20)
        until(lambda: outcomes(stack) == 20)
        end = reported_until(stack)
        status, found = complete(stack, "--from", start.isoformat(), "--to", end.isoformat())
        assert (status, found["verdict"], found["findings"]) == (0, "complete", [])
        stack.processes.stop("worker")
        until(lambda: "log_close" in kinds(stack))
        stack.processes.stop("follower")
        status, found = complete(stack)
        assert (status, found["verdict"], found["findings"]) == (0, "complete", [])
        assert (found["requests"]["decisions"], found["requests"]["breaches"]) == (20, 0)
        copy = tmp_path / "copy"
        shutil.copytree(stack.ledger.parent, copy)
        shutil.rmtree(copy / stack.ledger.name)
        status, found = complete(stack, ledger=copy)
        assert (status, found["verdict"]) == (1, "missing")
