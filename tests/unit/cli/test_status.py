"""What `aegis status` makes of what it could read: nobody who is silent looks well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from authz.cli.main import app
from authz.cli.status.parts import parts, short, span
from authz.cli.status.reading import Deployment, Log, Opa, Scrape, newest, scrape
from authz.config import Settings
from authz.policy.activation import Failure
from tests import ledgers

ONE, TWO = f"v1.0.0+{'1' * 64}", f"v2.0.0+{'2' * 64}"
AWAY = {"worker": "refused", "follower": "refused", "opa": "no such file"}
SETTINGS = Settings()


def worker(revision: str = ONE, *not_ready: str, code: str = "", **values: float) -> Scrape:
    version, _, digest = revision.partition("+")
    found: dict[Any, float] = {
        ("aegis_policy_info", (("digest", digest), ("version", version))): 1,
        ("aegis_policy_activation_failed", (("code", code),)): float(bool(code)),
        ("aegis_ledger_healthy", ()): 1,
    }
    return Scrape(found | {(name, ()): value for name, value in values.items()}, not_ready)


def follower(**values: float) -> Scrape:
    return Scrape({(name, ()): value for name, value in values.items()}, ())


def opa(revision: str = ONE, failure: Failure | None = None) -> Opa:
    return Opa(revision, "2026-11-24T00:00:00Z", "1.22.0", failure)


def whole(**changed: Any) -> Deployment:
    logs = [Log("worker-0", "20261124T000000Z-0", 10, 10, "2026-11-24T00:00:00.000000Z")]
    members = {"worker": worker(), "follower": follower(), "opa": opa(), "named": ONE, "logs": logs}
    return Deployment(**(members | {"away": AWAY} | changed))


def said(found: Deployment, settings: Settings = SETTINGS) -> dict[str, tuple[str, str]]:
    return {part.name: (part.state, part.said) for part in parts(settings, found)}


def test_a_whole_deployment_is_well() -> None:
    assert {state for state, _ in said(whole()).values()} == {"ok", "off"}


def test_without_anybody_everything_is_down_or_unknown() -> None:
    found = said(Deployment(away=AWAY))
    assert {state for state, _ in found.values()} == {"down", "unknown", "off"}
    assert found["worker"] == ("down", "worker-0 at 127.0.0.1:9464: refused")
    assert found["policy"] == ("unknown", "nobody says")


@pytest.mark.parametrize(
    ("changed", "part", "state", "words"),
    [
        ({"worker": worker(ONE, "ledger: x")}, "worker", "warn", "not ready: ledger: x"),
        ({"worker": None}, "policy", "ok", "by OPA's word"),
        ({"worker": None}, "cache", "unknown", "does not answer"),
        ({"worker": worker(aegis_policy_staleness_seconds=90)}, "opa", "warn", "not the worker for 90 s"),
        ({"worker": worker(TWO)}, "policy", "warn", "OPA has v1.0.0 (11111111)"),
        ({"named": TWO}, "policy", "warn", "named is v2.0.0 (22222222)"),
        ({"named": None}, "policy", "ok", "not known here"),
        ({"worker": worker("none+none"), "opa": opa("")}, "policy", "down", "no version"),
        ({"worker": worker(code="unsigned")}, "activation", "warn", "unsigned"),
        (
            {"named": TWO, "opa": opa(ONE, Failure("too_large", "OPA's words"))},
            "activation",
            "warn",
            "v2.0.0 (22222222): too_large: OPA's words",
        ),
        (
            {"named": TWO, "follower": follower(aegis_policy_awaited_seconds=300)},
            "activation",
            "warn",
            "v2.0.0 (22222222): OPA does not ask for it, for 5 min",
        ),
        ({"follower": None}, "control log", "unknown", "does not answer"),
        ({}, "shadow", "off", "everything is enforced"),
        ({"worker": worker(aegis_shadow_rules=2)}, "shadow", "ok", "0 agents, 2 rules; 0 would"),
        (
            {"worker": worker(aegis_shadow_all=1, aegis_shadow_all_seconds=7200, aegis_would_block_total=3)},
            "shadow",
            "warn",
            "nothing of policy is enforced, for 2.0 h; 3 would have been blocked",
        ),
        ({"damage": "entries: what"}, "ledger", "ok", "worker-0: 10 entries, 0 not sealed"),
    ],
)
def test_each_fault_is_said_at_its_part(changed: dict[str, Any], part: str, state: str, words: str) -> None:
    found = said(whole(**changed))[part]
    assert found[0] == state
    assert words in found[1]


def test_without_an_opa_to_be_asked_none_is_missed() -> None:
    embedded = Settings.model_validate({"policy": {"engine": "wasm"}})
    found = said(whole(opa=None), embedded)
    assert found["opa"] == ("off", "none is needed: the worker evaluates policy itself")
    assert found["policy"][0] == found["activation"][0] == "ok"
    refused = said(whole(opa=None, worker=worker(code="unsigned")), embedded)
    assert refused["activation"] == ("warn", "unsigned")


def test_damage_and_a_disk_that_takes_nothing_are_down() -> None:
    unhealthy = whole(worker=worker(aegis_ledger_healthy=0))
    assert said(unhealthy)["ledger"] == ("down", "the worker cannot write records")
    damaged = [part for part in parts(SETTINGS, whole(damage="here")) if part.state == "down"]
    assert [part.said for part in damaged] == ["here; `aegis verify` says more"]


def test_entries_that_nobody_seals_are_late() -> None:
    log = Log("worker-0", "e", 10, 4, "2026-11-24T00:00:00.000000Z")
    behind = follower(aegis_follower_last_seal_seconds=61)
    assert said(whole(logs=[log]))["ledger"][0] == "ok"
    assert said(whole(logs=[log], follower=behind))["ledger"][0] == "warn"
    assert said(whole(logs=[log], follower=None))["ledger"] == (
        "warn",
        "worker-0: 10 entries, 6 not sealed yet, the last one of 2026-11-24T00:00:00Z",
    )


def test_anchors_are_as_their_worst() -> None:
    anchored = Settings.model_validate({"anchors": {"directory": {"path": "elsewhere"}}})

    def found(**values: float) -> tuple[str, str]:
        series = {(name, (("anchor", "directory"),)): value for name, value in values.items()}
        return said(whole(follower=Scrape(series, ())), anchored)["anchors"]

    assert found(aegis_anchor_lag_seconds=4) == ("ok", "directory 4 s behind")
    assert found(aegis_anchor_lag_seconds=4, aegis_anchor_refused_logs=1)[0] == "warn"
    assert found(aegis_tail_exposure_seconds=7200)[0] == "warn"
    assert found(aegis_anchor_contradicted_logs=1)[0] == "down"
    assert said(whole(follower=None), anchored)["anchors"][0] == "unknown"


def test_logs_are_read_from_the_disk_alone(tmp_path: Path) -> None:
    for number, worker_name in ((1, "a"), (2, "a"), (1, "b")):
        log = f"aegis.test/{worker_name}/2026010{number}T000000Z-{number:016x}"
        directory = tmp_path.joinpath(*log.split("/")[1:])
        ledgers.store(directory, list(ledgers.chain(iter([ledgers.decision(n) for n in range(number)]), log)))
        ledgers.seal(directory, log)
    assert [(log.worker, log.entries, log.sealed) for log in newest(tmp_path)] == [("a", 2, 2), ("b", 1, 1)]


def test_a_process_without_metrics_is_said_to_have_none() -> None:
    with pytest.raises(ValueError, match="turned off"):
        scrape("")


def test_a_state_that_is_not_there_is_no_fault_of_the_command(tmp_path: Path) -> None:
    config = tmp_path / "aegis.yaml"
    config.write_text(
        f"state: {tmp_path}/none\nlisten: {{metrics: '127.0.0.1:1'}}\nfollower: {{metrics: '127.0.0.1:1'}}\n"
    )
    done = CliRunner().invoke(app, ["status", "--config", str(config)])
    assert done.exit_code == 1
    assert "no log is here yet" in done.output
    config.write_text("state: [")
    assert CliRunner().invoke(app, ["status", "--config", str(config)]).exit_code == 2


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2.0 h"), (200_000, "2.3 d")]
)
def test_a_time_is_short(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_revision_is_short() -> None:
    assert [short(revision) for revision in (ONE, "", "v1")] == ["v1.0.0 (11111111)", "", "v1"]
