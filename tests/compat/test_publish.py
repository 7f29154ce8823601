"""A policy written for opa-envoy-plugin is published as it is, by the path that it is asked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from authz.cli.policy import app
from tests.compat.cases import REGO, SAMPLE


@pytest.mark.parametrize(
    ("policy", "path"),
    [
        (str(SAMPLE / "rego"), "envoy/authz/allow"),
        ("paths", "paths"),
        ("paths", "/paths/reach/deep/1"),
    ],
)
def test_it_is_published_for_the_path_of_the_settings(tmp_path: Path, policy: str, path: str) -> None:
    rego = tmp_path / "rego"
    rego.mkdir()
    files = (REGO / policy).iterdir() if (REGO / policy).is_dir() else [REGO / policy]
    for file in files:
        (rego / file.name).write_bytes(file.read_bytes())
    config = tmp_path / "aegis.yaml"
    (tmp_path / "state").mkdir()
    config.write_text(
        f"state: {tmp_path / 'state'}\npolicy: {{compat: opa-envoy-plugin, entry_point: {path}}}\n"
    )
    arguments = ["publish", str(rego), "--version", "v1.0.0", "--why", "as it was", "--config", str(config)]
    done = CliRunner().invoke(app, [*arguments, "--coverage", "0"])
    assert done.exit_code == 0, done.output
    shown = CliRunner().invoke(app, ["show", "v1.0.0", "--config", str(config)])
    assert path.strip("/") in shown.output
