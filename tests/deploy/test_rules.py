"""Alerts fire when they should and only then, by promtool's own judgement; each says what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.up.deployment import ROOT, program

RULES = ROOT / "deploy/prometheus/rules.yaml"
CASES = sorted((ROOT / "deploy/prometheus/tests").glob("*.yaml"))
_FIRING = re.compile(r'count\(ALERTS\{alertname="(\w+)", alertstate="firing"\}\)')


def promtool(*arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [program("promtool"), *arguments], capture_output=True, text=True, timeout=100, check=False
    )
    return done.returncode, done.stdout + done.stderr


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def judged() -> dict[str, set[bool]]:
    """Alert -> whether some case has it firing, and whether some case has it silent."""
    found: dict[str, set[bool]] = {}
    for case in (test for file in CASES for test in yaml.safe_load(file.read_text())["tests"]):
        for check in case.get("promql_expr_test", []):
            name = _FIRING.fullmatch(check["expr"])
            assert name, f"{check['expr']}: not the form that is counted here"
            found.setdefault(name[1], set()).add(bool(check["exp_samples"]))
    return found


def test_promtool_accepts_configuration_and_rules() -> None:
    status, said = promtool("check", "config", RULES.with_name("prometheus.yaml"))
    assert status == 0, said
    assert "rules found" in said


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_what_fires_and_what_does_not(file: Path) -> None:
    status, said = promtool("test", "rules", file)
    assert status == 0, said


def test_every_alert_is_seen_firing_and_seen_silent() -> None:
    assert judged() == {name: {True, False} for name in alerts()}


def test_every_alert_says_what_it_is_and_what_to_do() -> None:
    for name, rule in alerts().items():
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, name
        assert all(len(text) > 20 for text in rule["annotations"].values()), name
        assert rule["labels"]["severity"] in ("page", "ticket"), name


@pytest.mark.parametrize(
    ("rule", "instead", "case"),
    [
        ("> 0.020", "> 0.200", "latency"),
        ("aegis_ledger_healthy == 0", "aegis_ledger_healthy == 2", "evidence"),
    ],
)
def test_a_rule_that_is_weakened_fails_its_case(tmp_path: Path, rule: str, instead: str, case: str) -> None:
    shutil.copytree(RULES.parent, tmp_path / "prometheus")
    text = RULES.read_text()
    assert text.count(rule) == 1
    (tmp_path / "prometheus/rules.yaml").write_text(text.replace(rule, instead))
    status, said = promtool("test", "rules", tmp_path / f"prometheus/tests/{case}.yaml")
    assert (status, "FAILED" in said) == (1, True)
