"""Which policy version may decide, by what control log and outbox say of activations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from authz.config import Settings
from authz.ledger.activations import Standing, standing, standings
from authz.ledger.outbox import Outbox
from tests import ledgers
from tests.controls import running
from tests.workers import Worker

V = {number: f"v{number}+{str(number) * 64}" for number in range(1, 5)}
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
WITHIN_S = 10.0


class Deployment:
    """Its control log with the events that a test says, each so many seconds before NOW."""

    def __init__(self, directory: Path) -> None:
        self.root, self.outbox = directory / "ledger/control", directory / "control.sqlite"
        self._said: list[dict[str, Any]] = []

    def say(self, action: str, number: int, ago_s: float) -> None:
        at = (NOW - timedelta(seconds=ago_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        version, _, digest = V[number].partition("+")
        said = {"kind": "policy", "action": action, "who": "ana", "event_time": at, "timestamp": at}
        more = {"code": "unsigned", "detail": "why"} if action == "fail" else {}
        self._said.append(said | more | {"policy_version": version, "policy_digest": digest})

    def stands(self, number: int) -> Standing:
        log = f"aegis.test/control/20260101T000000Z-{1:016x}"
        entries = ledgers.chain(iter([{"kind": "open"}, *self._said, {"kind": "heartbeat"}]), log)
        ledgers.store(self.root / log.rpartition("/")[2], list(entries))
        return standing(self.root, self.outbox, V[number], WITHIN_S, NOW)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def test_the_version_that_was_activated_last_stands(deployment: Deployment) -> None:
    deployment.say("activate", 1, 1000)
    deployment.say("activate", 2, 500)
    assert deployment.stands(2) == Standing("")


def test_an_older_one_does_not(deployment: Deployment) -> None:
    deployment.say("activate", 1, 1000)
    deployment.say("activate", 2, 500)
    assert deployment.stands(1) == Standing("v2 was activated at 2026-01-01T11:51:40.000000Z")


def test_one_that_was_never_activated_does_not(deployment: Deployment) -> None:
    deployment.say("publish", 3, 400)
    assert deployment.stands(3) == Standing("the control log has no activation of it")


def test_the_one_before_stands_while_a_switch_may_be_on_its_way_and_not_for_good(
    deployment: Deployment,
) -> None:
    deployment.say("activate", 1, 1000)
    deployment.say("activate", 2, WITHIN_S - 1)
    assert deployment.stands(1) == Standing("", settled=False)
    assert deployment.stands(2) == Standing("")
    deployment.say("activate", 3, WITHIN_S - 2)
    assert deployment.stands(1) == deployment.stands(2) == Standing("", settled=False)


def test_the_one_before_stands_where_the_last_one_failed(deployment: Deployment) -> None:
    deployment.say("activate", 1, 1000)
    deployment.say("activate", 2, 500)
    deployment.say("fail", 2, 499)
    assert deployment.stands(1) == Standing("")
    deployment.say("activate", 3, 400)
    assert deployment.stands(1).refusal.startswith("v3 was activated")


def test_one_that_failed_first_and_succeeded_then_stands(deployment: Deployment) -> None:
    deployment.say("activate", 1, 1000)
    deployment.say("activate", 2, 500)
    deployment.say("fail", 2, 499)
    deployment.say("activate", 2, 400)
    assert deployment.stands(2) == Standing("")


def test_one_whose_failure_is_the_newest_that_is_said_of_it_stands_as_it_did(deployment: Deployment) -> None:
    deployment.say("activate", 2, 500)
    deployment.say("fail", 2, 499)
    assert deployment.stands(2) == Standing("")


def test_what_waits_in_the_outbox_counts_before_what_is_written(deployment: Deployment) -> None:
    deployment.say("activate", 1, 1000)
    version, _, digest = V[2].partition("+")
    with Outbox(deployment.outbox, lambda: int((NOW - timedelta(hours=1)).timestamp() * 1e9)) as outbox:
        said = {"action": "activate", "policy_version": version, "policy_digest": digest, "who": "ana"}
        outbox.put("policy", said)
    assert deployment.stands(2) == Standing("")
    assert deployment.stands(1).refusal.startswith("v2 was activated")


def test_nothing_stands_where_nothing_was_said_or_can_be_read(deployment: Deployment, tmp_path: Path) -> None:
    empty = standing(tmp_path / "none", tmp_path / "none.sqlite", V[1], WITHIN_S, NOW)
    assert empty == Standing("the control log has no activation of it")
    deployment.say("activate", 1, 1000)
    assert deployment.stands(1) == Standing("")
    deployment.outbox.unlink()
    deployment.outbox.mkdir()
    assert deployment.stands(1).refusal.startswith("the control log cannot be read")


def test_a_line_that_is_no_entry_stands_for_nothing(deployment: Deployment) -> None:
    deployment.say("activate", 1, 1000)
    assert deployment.stands(1) == Standing("")
    (segment,) = deployment.root.glob("*/entries/*.jsonl")
    with segment.open("ab") as file:
        file.write(b'{"kind":"policy"}\n')
    found = standing(deployment.root, deployment.outbox, V[1], WITHIN_S, NOW)
    assert found == Standing("the control log has an entry that is none", settled=False)


async def test_a_real_control_log_is_read(worker: Worker) -> None:
    version, _, digest = V[1].partition("+")
    async with running(worker) as control:
        control.outbox.put(
            "policy", {"action": "activate", "policy_version": version, "policy_digest": digest, "who": "ana"}
        )
        await control.drained()
    told = worker.settings.model_copy(
        update={"policy": worker.settings.policy.model_copy(update={"named_s": WITHIN_S})}
    )
    stands = standings(told)
    assert stands is not None
    assert stands(V[1]) == Standing("")
    assert stands(V[2]) == Standing("the control log has no activation of it", settled=False)
    assert standings(Settings()) is None
