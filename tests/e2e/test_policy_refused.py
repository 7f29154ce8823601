"""A version that OPA refuses: requests go on under the one before, and the control log says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from authz.ledger import control
from authz.policy.signing import public_key
from authz.up import records
from authz.up.traffic import RECORDS
from tests.e2e.stack import Stack, running
from tests.policy.faults import FAULTS, VERSION
from tests.policy.opa import activate


def noted(stack: Stack) -> list[dict[str, Any]]:
    """The `fail` entries of the control log."""
    epochs = records.epochs(stack.ledger.with_name(control.WORKER))
    entries = [entry for epoch in epochs for entry in records.entries(epoch)]
    return [entry for entry in entries if entry["kind"] == "policy" and entry["action"] == "fail"]


def test_a_version_by_another_key_is_refused_and_noted_and_requests_go_on(tmp_path: Path) -> None:
    with running(tmp_path / "var") as stack, stack.client() as client:
        before = stack.record(client.get(RECORDS))
        directory = stack.bundles
        revision = FAULTS["signed by another key"].make(directory.parent)
        assert public_key(directory.parent / "other.pem") != public_key(
            stack.deployment.settings.state / "keys/policy.pem"
        )
        activate(directory, VERSION)
        stack.processes.wait("follower", lambda: bool(noted(stack)), "noting the failure", 10)
        after = stack.record(client.get(RECORDS.replace("17", "18")))
        assert after["policy_digest"] == before["policy_digest"]
        (entry,) = noted(stack)
        assert (entry["policy_version"], entry["policy_digest"]) == (VERSION, revision.partition("+")[2])
        assert (entry["code"], entry["active_digest"]) == ("bad_signature", before["policy_digest"])
