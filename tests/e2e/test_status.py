"""`aegis status` of a real deployment: what runs, what is down, and what could not be activated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from authz.cli.main import app
from authz.up.traffic import RECORDS
from tests.e2e.stack import Stack, running
from tests.policy.faults import FAULTS, VERSION
from tests.policy.opa import activate


def status(stack: Stack) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit status, and the parts by name."""
    done = CliRunner().invoke(app, ["status", "--config", str(stack.deployment.config), "--json"])
    said = json.loads(done.output)
    assert said["well"] is (done.exit_code == 0)
    return done.exit_code, {part["name"]: part for part in said["parts"]}


def states(stack: Stack) -> dict[str, str]:
    return {name: part["state"] for name, part in status(stack)[1].items()}


def test_all_is_well_and_then_one_after_another_is_not(tmp_path: Path) -> None:
    with running(tmp_path / "var") as stack, stack.client() as client:
        assert [client.get(RECORDS).status_code for _ in range(2)] == [200, 200]
        stack.processes.wait("follower", lambda: status(stack)[0] == 0, "all being well", 10)
        _, found = status(stack)
        revision = found["policy"]["figures"]["revision"]
        assert revision == found["policy"]["figures"]["named"] != ""
        assert found["worker"]["figures"]["decisions"] == 2
        assert found["cache"]["figures"] == {"hits": 1, "misses": 1, "entries": 1}
        assert (found["activation"]["said"], found["anchors"]["state"]) == ("nothing failed", "off")
        screen = CliRunner().invoke(app, ["status", "--config", str(stack.deployment.config)]).output
        assert len(screen.splitlines()) <= 15
        assert f"policy       ok       {revision.partition('+')[0]} (" in screen

        made = FAULTS["signed by another key"].make(stack.bundles.parent)
        activate(stack.bundles, VERSION)

        def refused() -> bool:
            part = status(stack)[1]["activation"]
            return bool(part["state"] == "warn" and part["figures"]["code"] == "bad_signature")

        stack.processes.wait("opa", refused, "refusing the version", 10)
        _, found = status(stack)
        assert found["activation"]["said"].startswith(
            f"{VERSION} ({made.partition('+')[2][:8]}): bad_signature"
        )
        assert (found["policy"]["state"], found["policy"]["figures"]["revision"]) == ("warn", revision)

        stack.processes.kill("follower")
        found = status(stack)[1]
        assert (found["follower"]["state"], found["control log"]["state"]) == ("down", "unknown")
        assert "refused" in found["follower"]["said"]
        assert found["ledger"]["figures"]["entries"] >= 2
        stack.processes.kill("opa")
        stack.processes.kill("worker")
        assert states(stack) | {"ledger": "-"} == {
            "worker": "down",
            "opa": "down",
            "policy": "unknown",
            "activation": "unknown",
            "shadow": "unknown",
            "cache": "unknown",
            "follower": "down",
            "ledger": "-",
            "control log": "unknown",
            "anchors": "off",
        }
        activate(stack.bundles, revision)
        stack.deployment.start_follower()
        stack.deployment.start_opa()
        stack.deployment.start_worker()
        stack.processes.wait("follower", lambda: status(stack)[0] == 0, "all being well again", 20)
