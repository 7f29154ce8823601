"""A rule in shadow before the real Envoy: what it denies goes on, recorded; after the flip it is stopped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from authz.ledger.outcomes import join
from authz.up import records
from authz.up.deployment import POLICY, program
from authz.up.traffic import CHARGE, CHARGES, EXPORT, OTHERS, RECORDS, TOKEN
from tests.e2e.stack import Stack, running

JSON = {"content-type": "application/json"}
RULE = "agent-tool"


def source(directory: Path, shadow: dict[str, Any]) -> Path:
    policy = directory / f"rego-{len(list(directory.iterdir()))}"
    shutil.copytree(POLICY, policy)
    (policy / "shadow/data.yaml").write_text(yaml.safe_dump(shadow))
    return policy


def aegis(stack: Stack, *arguments: str | Path) -> str:
    """What `aegis ARGUMENTS` says about this deployment."""
    command = [program("aegis"), *arguments, "--config", stack.deployment.config]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def switch(stack: Stack, directory: Path, version: str, shadow: dict[str, Any]) -> None:
    """Publish and activate a version that has this in shadow, and wait until it decides."""
    aegis(stack, "policy", "publish", source(directory, shadow), "--version", version, "--why", "a test")
    aegis(stack, "policy", "activate", version)
    wait(stack, lambda: f'version="{version}"' in metrics(stack), f"deciding by {version}")


def metrics(stack: Stack) -> str:
    return httpx.get(f"http://{stack.deployment.settings.listen.metrics}/metrics", trust_env=False).text


def wait(stack: Stack, there: Callable[[], bool], what: str) -> None:
    stack.processes.wait("worker", there, what, 15)


def control(stack: Stack) -> list[dict[str, Any]]:
    """What the control log says of shadow and labels."""
    epochs = records.epochs(stack.ledger.with_name("control"))
    found = [entry for epoch in epochs for entry in records.entries(epoch)]
    return [entry for entry in found if entry["kind"] in ("shadow", "label")]


def reads(stack: Stack) -> httpx.Response:
    """What the library denies billing-agent by RULE."""
    with stack.client("billing-agent") as client:
        return client.get(OTHERS, headers={"x-aegis-shadow": "off", "proxy-authorization": "Bearer geheim"})


def test_a_rule_in_shadow_is_watched_labelled_and_flipped(tmp_path: Path) -> None:
    with running(tmp_path / "var", policy=source(tmp_path, {"rules": [RULE]})) as stack:
        answer = reads(stack)
        record = stack.record(answer)
        assert answer.status_code == 200
        received = answer.json()["headers"]
        assert not {TOKEN, "x-aegis-shadow", "proxy-authorization"} & received.keys()
        assert (record["decision"], record["mode"], record["policy_decision"]) == (
            "would_block",
            "shadow",
            "deny",
        )
        assert (record["rule"], record["reason_code"]) == (RULE, "tool_not_permitted")
        assert record["evidence"]
        assert record["rationale"]

        enforced(stack)
        wait(stack, lambda: [entry["action"] for entry in control(stack)] == ["on"], "saying it")
        assert control(stack)[0]["rules"] == [RULE]
        shown = metrics(stack)
        for line in (
            f'aegis_would_block_total{{rule="{RULE}"}} 1.0',
            "aegis_shadow_rules 1.0",
            "aegis_shadow_all 0.0",
            "aegis_shadow_unsaid 0.0",
            "aegis_outcomes_forwarded_without_allow_total 0.0",
        ):
            assert line in shown

        aegis(stack, "label", record["decision_id"], "false-positive", "--why", "it may read these")
        wait(stack, lambda: len(control(stack)) == 2, "keeping the label")
        found = json.loads(aegis(stack, "policy", "shadow-report", "--json"))
        (row,) = found["rules"]
        assert (row["rule"], row["would_block"], row["examples"]) == (RULE, 1, [record["decision_id"]])
        assert (row["reviewed"]["labelled"], row["reviewed"]["share"]) == (1, 1.0)

        switch(stack, tmp_path, "v2.0.0", {})
        answer = reads(stack)
        assert (answer.status_code, stack.record(answer)["decision"]) == (403, "deny")
        assert stack.record(answer)["cache"] == "miss"
        wait(
            stack,
            lambda: [entry.get("action") for entry in control(stack)] == ["on", None, "off"],
            "saying it",
        )
        wait(stack, lambda: join(stack.ledger, 60).outcomes >= 6, "hearing of outcomes")
        assert join(stack.ledger, 60).breaches == 0


def enforced(stack: Stack) -> None:
    """Whatever is not in shadow is denied, and what is allowed is as ever."""
    with stack.client() as client:
        assert stack.record(client.get(RECORDS))["mode"] == "enforce"
        assert client.post(EXPORT, content=b'{"patients":"all"}', headers=JSON).status_code == 403
    with stack.client("") as client:
        assert client.get(RECORDS).status_code == 401
    with stack.client("billing-agent") as client:
        assert client.post(CHARGES, content=CHARGE + b"x", headers=JSON).status_code == 400


def test_a_running_worker_takes_up_what_its_settings_put_into_shadow(tmp_path: Path) -> None:
    with running(tmp_path / "var") as stack:
        assert reads(stack).status_code == 403
        write(stack, {"agents": ["billing-agent"]})
        wait(stack, lambda: "aegis_shadow_agents 1.0" in metrics(stack), "taking it up")
        answer = reads(stack)
        assert (answer.status_code, stack.record(answer)["cache"]) == (200, "hit")
        with stack.client() as client:
            assert client.post(EXPORT, content=b'{"patients":"all"}', headers=JSON).status_code == 403

        write(stack, {"all": "maybe"})
        wait(stack, lambda: "aegis_settings_problem 1.0" in metrics(stack), "refusing it")
        assert reads(stack).status_code == 200

        write(stack, {"all": True})
        wait(stack, lambda: "aegis_shadow_all 1.0" in metrics(stack), "taking it up")
        with stack.client() as client:
            answer = client.post(EXPORT, content=b'{"patients":"all"}', headers=JSON)
        assert (answer.status_code, stack.record(answer)["decision"]) == (200, "would_block")
        enforced_at_all_times(stack)

        write(stack, {})
        wait(stack, lambda: "aegis_shadow_all 0.0" in metrics(stack), "taking it up")
        assert reads(stack).status_code == 403
        said = lambda: [(entry["action"], entry.get("scope")) for entry in control(stack)]  # noqa: E731
        wait(stack, lambda: said() == [("on", "some"), ("on", "all"), ("off", None)], "saying it")
        stack.processes.stop("worker")
        stack.deployment.start_worker()
        assert len(control(stack)) == 3


def enforced_at_all_times(stack: Stack) -> None:
    with stack.client("") as client:
        assert client.get(RECORDS).status_code == 401
    status, headers, _ = stack.raw(
        "GET http://internal-ehr.myorg.example/patients/17%2f..%2f7/records HTTP/1.1\n"
        "host: internal-ehr.myorg.example\n{token}"
    )
    assert (status, stack.record_of(headers)["mode"]) == (400, "enforce")
    stack.processes.stop("opa")
    with stack.client() as client:
        assert client.get(f"{RECORDS}/new").status_code == 503
    stack.deployment.start_opa()


def write(stack: Stack, shadow: dict[str, Any]) -> None:
    """Put this section into the settings' file of the running worker."""
    file = stack.deployment.config
    beside = file.with_suffix(".new")
    beside.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"shadow": shadow}))
    os.replace(beside, file)
