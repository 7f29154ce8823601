"""`aegis policy propose`: a diff with its reasons, and nothing that is changed."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.replaying import recording, run

REGO = Path(__file__).parents[3] / "rego"
RULES = """
decision := {
	"decision": "deny",
	"reason_code": "tool_not_permitted",
	"rule": "agent-tool",
	"classification": {"tool": "ehr.read"},
} if {
	input.agent.id
	input.parsed_path
}
"""


@pytest.fixture
async def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    async with recording(tmp_path, RULES) as asking:
        for patient in (1, 2, 2):
            await asking.ask(
                "billing-agent", f"/patients/{patient}/records", host="internal-ehr.myorg.example"
            )
    shutil.copytree(REGO, tmp_path / "rego")
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def said(directory: Path, *arguments: str) -> Any:
    return await asyncio.to_thread(run, directory, "policy", "propose", "rego", *arguments)


async def test_the_output_is_a_patch_with_its_reasons(directory: Path) -> None:
    before = (directory / "rego/agents/data.yaml").read_text()
    done = await said(directory, "--last", "1h")
    assert done.exit_code == 0, done.output
    assert "denied tool_not_permitted" in done.output
    assert (directory / "rego/agents/data.yaml").read_text() == before
    subprocess.run(
        ["patch", "-p0"], input=done.output, text=True, check=True, capture_output=True, timeout=60
    )
    assert (directory / "rego/agents/data.yaml").read_text() == before + "    ehr.read: {}\n"


@pytest.mark.parametrize("arguments", [("--agent", "other"), ("--to", "2020-01-01"), ("--at-least", "9")])
async def test_only_what_is_asked_for_is_proposed(directory: Path, arguments: tuple[str, ...]) -> None:
    done = await said(directory, *arguments)
    assert (done.exit_code, "# nothing to propose" in done.output) == (0, True)
