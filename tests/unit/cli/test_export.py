"""`aegis export status` says what is exported, what waits, and what stands in the way."""

from __future__ import annotations

import json
import time

import pytest
import yaml
from typer.testing import CliRunner

from authz.cli.main import app
from authz.config_exporters import FilesExport
from authz.followers.exporters.files import Files
from tests.exporting import directory, exporting
from tests.workers import Worker, decision


@pytest.fixture
async def exported(worker: Worker) -> Worker:
    """Five entries exported, and one that waits."""
    async with worker.running() as ledger:
        for number in range(3):
            await ledger.append("decision", decision(number))
        worker.seal()
        async with exporting(worker, Files(worker.state / "records", FilesExport(), time.time)) as runs:
            await runs.caught_up()
    worker.seal()
    return worker


def status(worker: Worker, *options: str) -> tuple[int, str]:
    config = worker.state / "aegis.yaml"
    config.write_text(yaml.safe_dump({"deployment": "aegis.test", "state": str(worker.state)}))
    done = CliRunner().invoke(app, ["export", "status", "--config", str(config), *options])
    return done.exit_code, done.output


def test_it_counts_what_is_exported_and_what_waits(exported: Worker) -> None:
    assert status(exported) == (0, "files  worker-0  4 exported, 1 waiting\n")
    code, output = status(exported, "--json")
    (found,) = json.loads(output)
    assert (code, found["workers"]) == (0, {"worker-0": {"exported": 4, "waiting": 1}})


def test_a_cursor_that_does_not_fit_is_named(exported: Worker) -> None:
    (cursor,) = directory(exported, "files").glob("*/*.json")
    cursor.write_bytes(b"")
    code, output = status(exported)
    assert code == 1
    assert f"STOPPED: {cursor}" in output


def test_dead_letters_are_counted(exported: Worker) -> None:
    (directory(exported, "files") / "dead_letters.jsonl").write_bytes(b'{"seq":1}\n{"seq":2}\n')
    code, output = status(exported)
    assert code == 1
    assert "files  2 dead letters\n" in output


def test_without_exporters_there_is_nothing_to_say(worker: Worker) -> None:
    assert status(worker) == (0, "")
