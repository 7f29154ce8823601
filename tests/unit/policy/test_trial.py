"""What an author is told in one go: each step by itself, with places that editors find."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.policy.checks import Standards
from authz.policy.trial import Step, stamp, trial

GOOD = """package aegis

default decision := {"decision": "deny", "reason_code": "not_permitted"}

decision := {"decision": "allow", "reason_code": "known"} if input.agent.id == "a"
"""
TESTS = """package aegis_test

import data.aegis

test_known if aegis.decision.decision == "allow" with input as {"agent": {"id": "a"}}

test_unknown if aegis.decision.decision == "deny" with input as {"agent": {"id": "b"}}
"""


def source(directory: Path, rego: str = GOOD, tests: str = TESTS) -> Path:
    made = directory / "rego"
    (made / "aegis").mkdir(parents=True)
    (made / "aegis/decision.rego").write_text(rego)
    if tests:
        (made / "aegis/decision_test.rego").write_text(tests)
    return made


def tried(where: Path, coverage: float = 80.0) -> dict[str, Step]:
    return {
        step.name: step
        for step in trial(where, ["aegis/decision"], Standards(schema=True, coverage=coverage))
    }


def failed(steps: dict[str, Step]) -> list[str]:
    return [name for name, step in steps.items() if not step.ok]


def test_a_good_source_passes_every_step_in_order(tmp_path: Path) -> None:
    steps = tried(source(tmp_path))
    assert list(steps) == ["format", "check", "lint", "test"]
    assert failed(steps) == []
    assert steps["test"].said == "tests run 100.0 % of the lines"
    assert steps["lint"].findings == ()


@pytest.mark.parametrize(
    ("rego", "step", "said"),
    [
        (GOOD + "\n\n\n", "format", "decision.rego:6"),
        (
            GOOD.replace("agent.id", "agnet.id"),
            "check",
            "decision.rego:5: rego_type_error: undefined ref: input.agnet.id",
        ),
        (GOOD + "\nx := data.y if z := 1\n", "check", "decision.rego:7: rego_compile_error"),
        (GOOD.replace('"a"', '"c"'), "test", "decision_test.rego:5:"),
        (GOOD.replace("if input", "if input."), "check", "decision.rego:5: rego_parse_error"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rego: str, step: str, said: str
) -> None:
    source(tmp_path, rego)
    monkeypatch.chdir(tmp_path)
    steps = tried(Path("rego"))
    assert step in failed(steps)
    assert f"rego/aegis/{said}" in steps[step].said


def test_a_step_does_not_wait_for_another_to_be_right(tmp_path: Path) -> None:
    rego = GOOD.replace('"a"', '"c"').replace('"deny"', '"allow"') + "\n\n"
    assert failed(tried(source(tmp_path, rego))) == ["format", "lint", "test"]


def test_warnings_are_no_failure(tmp_path: Path) -> None:
    rego = GOOD.replace('input.agent.id == "a"', 'endswith(input.destination.host, ".a")')
    steps = tried(source(tmp_path, rego, tests=""), coverage=0)
    assert failed(steps) == []
    assert [finding.rule.id for finding in steps["lint"].findings] == ["host-any-subdomain"]


def test_too_few_lines_that_tests_run(tmp_path: Path) -> None:
    steps = tried(
        source(tmp_path, GOOD + '\nx := 1 if {\n\tinput.agent.id == "b"\n\tinput.now.hour == 1\n}\n'), 95.0
    )
    assert failed(steps) == ["test"]
    assert "decision.rego:" in steps["test"].said


def test_every_change_of_a_policy_s_files_is_seen_and_no_other(tmp_path: Path) -> None:
    where = source(tmp_path)
    seen = [stamp(where)]
    (where / "data.yaml").write_text("a: 1\n")
    seen.append(stamp(where))
    (where / "data.yaml").write_text("a: 12\n")
    seen.append(stamp(where))
    (where / "aegis/decision_test.rego").unlink()
    seen.append(stamp(where))
    assert len(set(seen)) == 4
    (where / "notes.txt").write_text("x")
    assert stamp(where) == seen[-1]
