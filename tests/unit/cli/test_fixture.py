"""`aegis policy fixture`: a test that passes under the version that decided, nothing without its facts."""

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.replaying import RULES, Asking, accesses, recording, run

ODD = 'a"}\nallow := true # {{%s}} \\ é'


@pytest.fixture
async def records(tmp_path: Path) -> list[dict[str, Any]]:
    async with recording(tmp_path) as asking:
        return await asked(asking)


async def asked(asking: Asking) -> list[dict[str, Any]]:
    return [
        await asking.ask("agent-1", "/read/1"),
        await asking.ask("agent-1", "/keep/1", {"count": 3, "all": ODD}),
        await asking.ask("agent-2", "/keep/1", {"count": 30}),
    ]


async def made(directory: Path, decision_id: str, *more: str) -> Any:
    arguments = ("policy", "fixture", decision_id, "--why", "bug 3", "--out", str(directory / "src/recorded"))
    return await asyncio.to_thread(run, directory, *arguments, *more)


def source(directory: Path, rego: str = RULES) -> Path:
    """With the fixtures that were made, below `recorded`."""
    decision = directory / "src/aegis/decision.rego"
    decision.parent.mkdir(parents=True, exist_ok=True)
    decision.write_text(f"package aegis\n{rego}")
    return directory / "src"


def opa(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["opa", *arguments], cwd=directory, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("number", [0, 1])
async def test_the_test_passes_under_the_version_that_decided_and_is_clean(
    tmp_path: Path, records: list[dict[str, Any]], number: int
) -> None:
    done = await made(tmp_path, records[number]["decision_id"])
    assert done.exit_code == 0, done.output
    tested = opa(source(tmp_path), "test", "--bundle", ".")
    assert (tested.returncode, "PASS: 1/1" in tested.stdout) == (0, True), tested.stdout
    assert opa(tmp_path / "src", "fmt", "--list", "recorded").stdout == ""
    assert opa(tmp_path / "src", "check", "--strict", "--bundle", ".").returncode == 0


async def test_it_fails_under_a_version_that_decides_otherwise(
    tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    await made(tmp_path, records[1]["decision_id"])
    tested = opa(source(tmp_path, RULES.replace("count < 10", "count < 2")), "test", "--bundle", ".")
    assert tested.returncode != 0
    assert "FAIL: 1/1" in tested.stdout


async def test_the_input_is_what_was_asked_and_its_reading_is_recorded(
    tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    name = records[1]["decision_id"]
    done = await made(tmp_path, name)
    files = re.findall(r"\S+recorded/\S+", done.output.replace("\n", " "))
    assert [Path(file).name for file in files] == [f"{name}_test.rego", f"{name}.input.json"]
    found = json.loads(Path(files[1]).read_text())
    assert found["action"]["arguments"] == {"count": 3, "all": ODD}
    evaluated = opa(
        source(tmp_path),
        "eval",
        "--bundle",
        ".",
        "--input",
        f"recorded/{name}.input.json",
        "data.aegis.decision.rule",
    )
    assert json.loads(evaluated.stdout)["result"][0]["expressions"][0]["value"] == "keeping"
    (event,) = accesses(tmp_path)
    assert (event["why"], event["decision_id"], event["names"]) == ("bug 3", name, ["facts", "parameters"])


async def test_two_of_them_do_not_collide_and_none_is_overwritten(
    tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    for number in (0, 1):
        assert (await made(tmp_path, records[number]["decision_id"])).exit_code == 0
    assert "PASS: 2/2" in opa(source(tmp_path), "test", "--bundle", ".").stdout
    file = tmp_path / "src/recorded" / f"{records[0]['decision_id']}_test.rego"
    file.write_text("mine")
    again = await made(tmp_path, records[0]["decision_id"])
    assert (again.exit_code, "already there" in again.output, file.read_text()) == (2, True, "mine")


async def test_what_was_not_captured_makes_no_test(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    done = await made(tmp_path, records[2]["decision_id"])
    assert done.exit_code == 2
    assert f"{records[2]['decision_id']}: not_replayable: not_captured: " in done.output
    assert not (tmp_path / "src").exists()


async def test_what_was_erased_makes_no_test(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    for file in (tmp_path / "var").rglob("disclosures/*.jsonl"):
        file.write_bytes(b"")
    done = await made(tmp_path, records[1]["decision_id"])
    assert (done.exit_code, "not_replayable: erased: " in done.output) == (2, True)
    assert not (tmp_path / "src").exists()


async def test_what_the_version_reads_and_is_masked_makes_no_test(tmp_path: Path) -> None:
    rego = RULES.replace(
        "not input.action.arguments.all",
        'not input.attributes.request.http.headers["x-aegis-agent-token"] == "a"',
    )
    async with recording(tmp_path, rego) as asking:
        record = await asking.ask("agent-1", "/read/1")
    done = await made(tmp_path, record["decision_id"])
    assert (done.exit_code, "not_replayable: redacted: " in done.output) == (2, True)
    assert not (tmp_path / "src").exists()


async def test_a_version_that_is_not_here_makes_no_test(
    tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    for file in (tmp_path / "bundles").glob("*.tar.gz"):
        file.unlink()
    done = await made(tmp_path, records[1]["decision_id"])
    assert (done.exit_code, "not_replayable: version_unknown: " in done.output) == (2, True)


@pytest.mark.parametrize("name", ["019b7690-0000-7000-8000-000000000000", "../../etc", ""])
async def test_a_decision_that_is_not_there(tmp_path: Path, records: list[dict[str, Any]], name: str) -> None:
    done = await made(tmp_path, name)
    assert done.exit_code != 0
    assert not (tmp_path / "src").exists()


async def test_without_a_durable_entry_nothing_is_written(
    tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    done = await made(tmp_path, records[1]["decision_id"], "--why", "")
    assert done.exit_code == 2
    assert not (tmp_path / "src").exists()
    assert accesses(tmp_path) == []
