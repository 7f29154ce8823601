"""docs/policy-faults.md says of each fault what the tests show, and of no other."""

from __future__ import annotations

from authz.config import Settings
from authz.followers.bundles import MAX_FILE
from authz.up.deployment import ROOT
from tests.policy.faults import FAULTS
from tests.policy.test_runtime_faults import FAULTS as AT_RUN_TIME

PAGE = (ROOT / "docs/policy-faults.md").read_text()


def rows(columns: int) -> list[tuple[str, ...]]:
    """Of the table with so many columns, without its head."""
    split = [
        tuple(cell.strip().strip("`") for cell in line.strip("|").split("|"))
        for line in PAGE.splitlines()
        if line.startswith("|") and "---" not in line
    ]
    return [row for row in split if len(row) == columns and row[0] != "fault"]


def test_what_opa_refuses_is_listed_by_its_code() -> None:
    assert rows(2) == [(fault.name, fault.code) for fault in FAULTS.values()]


def test_what_cannot_decide_is_listed_by_reason_and_rationale() -> None:
    assert rows(3) == [(fault.name, str(fault.reason), fault.said) for fault in AT_RUN_TIME]


def test_numbers_are_those_of_the_code() -> None:
    assert f"{MAX_FILE >> 20} MiB" in PAGE
    assert f"`policy.status_s` ({Settings().policy.status_s:.0f} s)" in PAGE
    assert Settings().policy.failed_s == Settings().policy.named_s == 0


def test_each_alert_and_metric_is_there() -> None:
    rules = (ROOT / "deploy/prometheus/rules.yaml").read_text()
    code = "".join(file.read_text() for file in (ROOT / "authz").rglob("*.py"))
    words = {word.strip("`(),.:;") for word in PAGE.replace("{", " ").split()}
    alerts = {word for word in words if word.startswith("Aegis") and word != "Aegis"}
    metrics = {word for word in words if word.startswith("aegis_")}
    assert {"AegisPolicyNotActivated", "AegisPolicyAwaited"} <= alerts
    assert all(f"alert: {alert}\n" in rules for alert in alerts)
    assert {"aegis_policy_awaited_seconds", "aegis_engine_errors_total"} <= metrics
    assert all(f'"{metric}"' in code for metric in metrics)
