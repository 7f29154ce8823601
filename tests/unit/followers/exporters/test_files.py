"""Records as files: whole lines under S4's columns, rotated in time, and cut nowhere but at a line's end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from authz import canonical
from authz.config_exporters import S4_COLUMNS, FilesExport
from authz.followers.exporters.destination import Refused
from authz.followers.exporters.files import Files, line
from tests import ledgers
from tests.exporting import directory, exporting
from tests.wire.serving import until
from tests.workers import Worker, decision

Row = dict[str, Any]


@pytest.fixture
async def filled(worker: Worker) -> Worker:
    async with worker.running() as ledger:
        for number in range(10):
            await ledger.append("decision", decision(number))
    worker.seal()
    return worker


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def files(worker: Worker, clock: Clock | None = None, **settings: Any) -> Files:
    return Files(worker.state / "records", FilesExport(**settings), clock or time.time)


def written(worker: Worker) -> list[Path]:
    """Rotated files in the order of their names, then the one that is written to."""
    found = sorted((worker.state / "records" / "worker-0").iterdir())
    return [
        *(file for file in found if "-2" in file.name),
        *(file for file in found if "-2" not in file.name),
    ]


def entries(worker: Worker) -> Iterator[bytes]:
    """The lines of all files, their columns turned back into members."""
    back = {column: name for name, column in S4_COLUMNS.items()}
    for file in written(worker):
        for data in file.read_bytes().splitlines(keepends=True):
            assert data.endswith(b"\n")
            yield canonical.encode(
                {back.get(name, name): value for name, value in orjson.loads(data).items()}
            )


async def test_a_line_has_s4s_columns_and_turns_back_into_the_entrys_own_bytes(filled: Worker) -> None:
    async with exporting(filled, files(filled)) as runs:
        await runs.caught_up()
    row = orjson.loads((filled.state / "records/worker-0/records.jsonl").read_bytes().splitlines()[1])
    entry = ledgers.members(filled.epochs[0])[1]
    for name, column in S4_COLUMNS.items():
        assert row[column] == entry[name]
        assert name not in row
    assert list(entries(filled)) == ledgers.read(filled.epochs[0])


async def test_no_file_is_larger_than_its_bound_and_none_lacks_a_line(filled: Worker) -> None:
    async with exporting(filled, files(filled, max_bytes=2500)) as runs:
        await runs.caught_up()
    assert len(written(filled)) > 3
    assert all(0 < file.stat().st_size <= 2500 for file in written(filled))
    assert list(entries(filled)) == ledgers.read(filled.epochs[0])


async def test_a_file_that_is_old_enough_is_rotated(worker: Worker) -> None:
    clock = Clock()
    async with worker.running() as ledger:
        await ledger.append("decision", decision(1))
        async with exporting(worker, files(worker, clock, max_age_s=60)) as runs:
            worker.seal()
            await runs.caught_up()
            clock.now += 61
            await ledger.append("decision", decision(2))
            worker.seal()
            await runs.caught_up()
    assert [len(file.read_bytes().splitlines()) for file in written(worker)] == [2, 1]


async def test_only_so_many_rotated_files_stay_the_newest(filled: Worker) -> None:
    async with exporting(filled, files(filled, max_bytes=1024, keep=2)) as runs:
        await runs.caught_up()
    assert len(written(filled)) == 3
    kept = list(entries(filled))
    assert kept == ledgers.read(filled.epochs[0])[-len(kept) :]


async def test_a_line_that_a_killed_process_left_unfinished_is_cut(filled: Worker) -> None:
    file = filled.state / "records/worker-0/records.jsonl"
    file.parent.mkdir(parents=True)
    whole = b'{"whole":1}\n'
    file.write_bytes(whole + b'{"torn":"' + b"x" * 70_000)
    async with exporting(filled, files(filled)) as runs:
        await runs.caught_up()
    assert file.read_bytes().startswith(whole + b'{"@timestamp"')
    assert b"torn" not in file.read_bytes()


async def test_a_link_in_the_place_of_the_file_is_not_followed(filled: Worker) -> None:
    elsewhere = filled.state / "elsewhere"
    elsewhere.write_bytes(b"")
    file = filled.state / "records/worker-0/records.jsonl"
    file.parent.mkdir(parents=True)
    file.symlink_to(elsewhere)
    async with exporting(filled, files(filled)) as runs:
        await until(lambda: runs.gauge("failures_total") >= 2)
        assert elsewhere.read_bytes() == b""
        file.unlink()
        await runs.caught_up()
    assert list(entries(filled)) == ledgers.read(filled.epochs[0])


async def test_a_disk_that_is_full_is_waited_for_and_nothing_is_lost(
    filled: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [3]
    real = os.fdatasync

    def sync(fd: int) -> None:
        if full[0]:
            full[0] -= 1
            raise OSError(28, "No space left on device")
        real(fd)

    monkeypatch.setattr("authz.followers.exporters.files.os.fdatasync", sync)
    async with exporting(filled, files(filled)) as runs:
        await runs.caught_up()
        assert runs.gauge("failures_total") == 3
    kept = list(entries(filled))
    assert kept[-12:] == ledgers.read(filled.epochs[0])


async def test_what_was_exported_before_a_restart_is_not_exported_again(worker: Worker) -> None:
    async with worker.running() as ledger:
        for number in range(3):
            await ledger.append("decision", decision(number))
            worker.seal()
            async with exporting(worker, files(worker)) as runs:
                await runs.caught_up()
    worker.seal()
    async with exporting(worker, files(worker)) as runs:
        await runs.caught_up()
    assert list(entries(worker)) == ledgers.read(worker.epochs[0])
    assert not (directory(worker, "files") / "dead_letters.jsonl").exists()


def test_two_members_never_share_a_column() -> None:
    with pytest.raises(Refused, match="the same column"):
        line({"tool": "a", "endpoint": "b"}, {"tool": "endpoint"})
    with pytest.raises(ValueError, match="tool and action have the same column x"):
        FilesExport(columns={"tool": "x", "action": "x"})
    with pytest.raises(ValueError, match="tool: a column is printable ASCII"):
        FilesExport(columns={"tool": ""})
