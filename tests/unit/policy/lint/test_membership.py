"""What OPA looks for wrongly is found, and what it looks for rightly is not: both asked of OPA itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from authz.policy.lint import membership
from authz.policy.lint.run import lint
from authz.programs import find

SAME = {"a": "q", "b": "q"}
# A condition, and whether the rule is not tried although it holds.
FORMS = {
    'input.a in {"x", input.b}': True,
    'input.a in ["x", input.b]': True,
    "input.a in {7, input.b}": True,
    'b := input.b\n\tinput.a in {"x", b}': True,
    'input.a in {"x", "q"}': False,
    "input.a in {input.b}": False,
    'input.a in {"k": input.b}': False,
    'known := {"x", input.b}\n\tinput.a in known': False,
    'some v in {"x", input.b}\n\tv == input.a': False,
    '{"x", input.b}[input.a]': False,
    'every v in [input.a] {\n\t\tv in {"x", input.b}\n\t}': False,
}


@pytest.mark.parametrize(("condition", "wrong"), FORMS.items(), ids=FORMS)
def test_a_form_is_found_if_opa_gets_it_wrong(condition: str, wrong: bool, tmp_path: Path) -> None:
    (tmp_path / "a.rego").write_text(f"package aegis\n\ndeny if {{\n\t{condition}\n}}\n")
    (tmp_path / "input.json").write_text(json.dumps(SAME))
    command = [
        str(find("opa")),
        "eval",
        "-d",
        "a.rego",
        "-i",
        "input.json",
        "--format=raw",
        "data.aegis.deny",
    ]
    denied = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()
    assert (denied != "true") is wrong
    found = {finding.rule.id for finding in lint(tmp_path, ["aegis/deny"])}
    assert (membership.MIXED.id in found) is wrong


def test_a_denial_of_it_is_looked_for_rightly(tmp_path: Path) -> None:
    (tmp_path / "a.rego").write_text('package aegis\n\nallow if not input.a in {"x", input.b}\n')
    assert membership.MIXED.id not in {finding.rule.id for finding in lint(tmp_path, ["aegis/allow"])}
