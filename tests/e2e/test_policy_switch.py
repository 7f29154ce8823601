"""A new policy version under load: no request fails for it, and none is decided by two versions."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import httpx

from authz.up import records
from authz.up.deployment import program
from authz.up.traffic import EHR
from tests.e2e.stack import Stack, running
from tests.policy.bundles import build_bundle
from tests.policy.opa import activate

VERSIONS = 8
ASKING = 4

RULE = """package aegis

# The reason is in the code, the rule's name in the data: a mixture of versions would show.
decision := {{"decision": "allow", "reason_code": "from_v{number}", "rule": data.release.name}} if {{
	input.parsed_path[0] == "patients"
}}
"""


def source(directory: Path, number: int) -> Path:
    policy = directory / f"policy-{number}"
    (policy / "aegis").mkdir(parents=True)
    (policy / "aegis/policy.rego").write_text(RULE.format(number=number))
    (policy / "release").mkdir()
    (policy / "release/data.json").write_text(f'{{"name": "rule_v{number}"}}')
    return policy


def publish(stack: Stack, policy: Path, version: str) -> str:
    settings = stack.deployment.settings
    bundles = settings.path(settings.follower.bundle_directory)
    key = settings.state / "keys/policy.pem"
    build_bundle(policy, bundles, version=version, signing_key=key, opa=str(program("opa")))
    return activate(bundles, version)


def test_versions_change_under_load_without_a_failure_or_a_mixture(tmp_path: Path) -> None:
    state = tmp_path / "var"
    with running(state, policy=source(tmp_path, 0)) as stack:
        statuses: Counter[int] = Counter()
        stop = threading.Event()

        def ask(agent: int) -> None:
            with stack.client() as client:
                number = 0
                while not stop.is_set():
                    number += 1  # every second path is asked for the first time, the others are cached
                    path = f"{EHR}/patients/{agent * 1_000_000 + number if number % 2 else 0}"
                    statuses[client.get(path).status_code] += 1

        asking = [threading.Thread(target=ask, args=(number,)) for number in range(ASKING)]
        for thread in asking:
            thread.start()
        try:
            with stack.client() as client:
                for number in range(1, VERSIONS):
                    publish(stack, source(tmp_path, number), f"v{number}")
                    reached = lambda number=number: rule(stack, client) == f"rule_v{number}"  # noqa: E731
                    stack.processes.wait("worker", reached, f"deciding by v{number}", 10)
        finally:
            stop.set()
            for thread in asking:
                thread.join()
        assert set(statuses) == {200}, statuses
        assert_unmixed(stack)


def rule(stack: Stack, client: httpx.Client) -> str:
    return str(stack.record(client.get(f"{EHR}/patients/0"))["rule"])


def assert_unmixed(stack: Stack) -> None:
    """Version, code and data of every record are of one publication, and versions never go back."""
    seen: list[str] = []
    for epoch in records.epochs(stack.ledger):
        for entry in records.entries(epoch):
            if entry["kind"] == "decision":
                version = entry["policy_version"]
                number = "0" if version == "v1.3.2" else version.removeprefix("v")
                assert (entry["reason_code"], entry["rule"]) == (f"from_v{number}", f"rule_v{number}")
                if number not in seen:
                    seen.append(number)
    assert seen == sorted(seen)
    assert len(seen) == VERSIONS
