"""docs/migrate-from-opa-envoy-plugin.md: what it shows is printed, its settings are the sample's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import orjson
import yaml

from authz.up.deployment import ROOT
from authz.wire.plugin.captured import read
from tests.compat.cases import SAMPLE, groups
from tests.compat.test_compare import RECORDED, in_order, recorded_plugin

PAGE = (ROOT / "docs/migrate-from-opa-envoy-plugin.md").read_text()
TYPICAL = {group.name: group for group in groups()}["typical"]


def test_the_sample_has_the_requests_that_the_plugin_was_asked() -> None:
    lines = (SAMPLE / "captured.jsonl").read_bytes().splitlines()
    sample = [in_order(read(line)) for line in lines]
    assert sample == [in_order(case.message) for case in TYPICAL.cases]


def test_the_settings_of_the_page_are_the_samples() -> None:
    (shown,) = re.findall(r"^```yaml\n(policy:.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert yaml.safe_load(shown) == yaml.safe_load((SAMPLE / "aegis.yaml").read_text())


def test_what_it_shows_of_a_comparison_is_what_it_prints(tmp_path: Path) -> None:
    """Beside a plugin that answers as the real one was recorded to; the other commands are test_readme's."""
    (shown,) = re.findall(r"^```console\n\$ (.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    *command, output = shown.splitlines()
    for name in ("docs", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    answers = {case.message: RECORDED["typical"][case.name] for case in TYPICAL.cases}
    with recorded_plugin(tmp_path, answers) as address:
        script = "\n".join(command).replace("127.0.0.1:9191", address)
        done = subprocess.run(["bash", "-eu", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{output}\n", "")


def test_the_number_of_cases_is_the_recorded_one() -> None:
    count = sum(map(len, orjson.loads((ROOT / "tests/compat/vectors.json").read_bytes())["answers"].values()))
    assert f"over {count} recorded cases" in PAGE
