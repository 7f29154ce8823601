"""`aegis tail`: the newest decisions, those that come, and nothing else of the ledger."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from authz.cli.main import app
from authz.cli.tail import line
from authz.ledger.report import plain
from tests import ledgers
from tests.workers import Worker, decision

AEGIS = str(Path(sys.executable).with_name("aegis"))


def aegis(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["tail", *map(str, arguments)])


def said(*members: dict[str, Any]) -> Any:
    """A story with these decisions."""
    yield {"kind": "open"}
    for number, changes in enumerate(members, 1):
        yield ledgers.decision(number) | changes


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Three decisions, among other kinds, in two epochs."""
    denied = {"decision": "deny", "reason_code": "tool_unknown", "agent_id": "clinical-agent"}
    ledgers.write(tmp_path, said({}, denied), closed=False)
    ledgers.write(tmp_path, said({"agent_id": "third-agent"}), epoch=ledgers.LATER_EPOCH)
    return tmp_path


def test_one_line_says_when_who_what_why_how_long_and_where() -> None:
    members = ledgers.decision(1) | {
        "timestamp": "2026-11-24T22:14:31.123456Z",
        "log": f"{ledgers.WORKER}/{ledgers.EPOCH}",
        "seq": 4,
        "method": "POST",
        "endpoint": "http://payments.example/charges",
        "rule": "matrix/payment/confidential",
        "engine": "opa",
        "cache": "miss",
        "evaluation_us": 1234,
    }
    assert line(members).split() == [
        *("2026-11-24", "22:14:31.123", "\x1b[32mallow", "\x1b[0m", "billing-agent"),
        *("stripe.charge", "POST", "http://payments.example/charges"),
        *("policy_compliant", "matrix/payment/confidential", "1.2ms", f"{ledgers.EPOCH}@4"),
    ]
    assert "  cached  " in line(members | {"cache": "hit"})
    assert "  -  " in line(members | {"engine": "none", "evaluation_us": 0})


def test_the_place_is_one_that_show_takes(ledger: Path) -> None:
    place = aegis(ledger, "-n", "1").stdout.split()[-1]
    shown = CliRunner().invoke(app, ["show", place, "--ledger", str(ledger), "--json"])
    assert json.loads(shown.stdout)["entry"]["agent_id"] == "third-agent"


def agents(*arguments: object) -> list[str]:
    result = aegis(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(text)["agent_id"] for text in result.stdout.splitlines()]


def test_decisions_of_all_epochs_in_order_and_no_other_kind(ledger: Path) -> None:
    assert agents(ledger) == ["billing-agent", "clinical-agent", "third-agent"]
    assert agents(ledger, "-n", 2) == ["clinical-agent", "third-agent"]
    assert agents(ledger, "-n", 0) == []


def test_only_what_was_asked_for(ledger: Path) -> None:
    assert agents(ledger, "--agent", "clinical-agent") == ["clinical-agent"]
    assert agents(ledger, "--agent", "clinical-agent", "--agent", "third-agent", "-n", 1) == ["third-agent"]
    assert agents(ledger, "--decision", "allow") == ["billing-agent", "third-agent"]
    assert agents(ledger, "--reason", "tool_unknown") == ["clinical-agent"]
    assert agents(ledger, "--reason", "tool_unknown", "--decision", "allow") == []


def test_workers_are_merged_by_time(tmp_path: Path) -> None:
    for worker, hours in (("a", (1, 4)), ("b", (2, 3))):
        stamps = [{"timestamp": f"2026-01-01T0{hour}:00:00.000000Z", "agent_id": str(hour)} for hour in hours]
        ledgers.write(tmp_path / worker, said(*stamps), sealed=False)
    assert agents(tmp_path) == ["1", "2", "3", "4"]
    assert agents(tmp_path, "-n", 3) == ["2", "3", "4"]


def test_what_could_not_run_is_one_sentence_and_2(tmp_path: Path) -> None:
    for arguments in ((tmp_path / "none",), (tmp_path, "--decision", "alow")):
        result = aegis(*arguments)
        assert result.exit_code == 2
    assert aegis(tmp_path / "none").stderr == f"{tmp_path / 'none'}: No such file or directory\n"


def test_nothing_stored_drives_the_terminal(tmp_path: Path) -> None:
    odd = dict.fromkeys(("agent_id", "tool", "endpoint", "rule", "reason_code"), "\x1b]0;x\x07\u202e\n")
    ledgers.write(tmp_path, said(odd | {"endpoint": "e" * 9000 + "\x1b"}))
    for arguments in ((tmp_path,), (tmp_path, "--json")):
        shown = aegis(*arguments).stdout
        assert len(shown.splitlines()) == 1
        assert plain(shown[:-1]) == shown[:-1]
    assert len(aegis(tmp_path).stdout) < 600


def test_a_damaged_line_is_said_and_the_others_are_shown(ledger: Path) -> None:
    epoch = ledger / "worker-0" / ledgers.EPOCH
    ledgers.edit(epoch, lambda entries: entries.__setitem__(1, entries[1] + b" "))
    result = aegis(ledger, "--json")
    assert [json.loads(text)["agent_id"] for text in result.stdout.splitlines()] == [
        "clinical-agent",
        "third-agent",
    ]
    assert "aegis verify" in result.stderr


# With the worker that writes, and a process that watches.


@asynccontextmanager
async def following(*arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(AEGIS, "tail", "--follow", "--json", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def next_decision(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return str(json.loads(await process.stdout.readline())["decision_id"])


async def test_decisions_come_as_they_are_written_over_a_new_epoch_until_ctrl_c(tmp_path: Path) -> None:
    worker = Worker(tmp_path / "var")
    seen = []
    async with worker.running() as writer:
        await writer.append("decision", decision(1), synced=True)
    async with following(worker.root, "-n", 1) as process:
        seen.append(await next_decision(process))
        for numbers in ((2, 3), (4,)):  # each time an epoch of its own
            async with worker.running() as writer:
                for number in numbers:
                    await writer.append("decision", decision(number), synced=True)
                    seen.append(await next_decision(process))
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
            assert process.stderr is not None
            assert await process.stderr.read() == b""
    assert seen == [decision(number)["decision_id"] for number in (1, 2, 3, 4)]
    assert len(worker.epochs) == 3
    worker.check()


async def test_a_reader_that_leaves_ends_it_without_a_word(tmp_path: Path) -> None:
    worker = Worker(tmp_path / "var")
    async with worker.running() as writer:
        await writer.append("decision", decision(1), synced=True)
        async with following(worker.root) as process:
            await next_decision(process)
            assert process.stdout is not None
            process.stdout._transport.close()  # type: ignore[attr-defined]
            await writer.append("decision", decision(2), synced=True)
            async with asyncio.timeout(20):
                assert await process.wait() == 0
                assert process.stderr is not None
                assert await process.stderr.read() == b""
    worker.check()
