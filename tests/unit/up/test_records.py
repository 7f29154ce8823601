"""Records are read from the files as they lie there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from authz.up import records


def write(worker: Path, epoch: str, *lines: str) -> Path:
    segment = worker / epoch / "entries/00000000.jsonl"
    segment.parent.mkdir(parents=True)
    segment.write_text("".join(lines))
    return worker / epoch


def decision(name: str) -> str:
    return json.dumps({"kind": "decision", "decision_id": name}) + "\n"


def test_decisions_of_all_epochs_are_found_by_their_id(tmp_path: Path) -> None:
    newer = write(tmp_path, "20260102T000000Z-00", '{"kind":"open"}\n', decision("b"))
    older = write(tmp_path, "20260101T000000Z-ff", '{"kind":"open"}\n', decision("a"))
    assert records.epochs(tmp_path) == [older, newer]
    assert set(records.decisions(tmp_path)) == {"a", "b"}


def test_an_unfinished_last_line_is_no_record(tmp_path: Path) -> None:
    write(tmp_path, "e", decision("a"), decision("b")[:-1])
    assert set(records.decisions(tmp_path)) == {"a"}


def test_an_id_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "e", decision("a"), decision("a"))
    with pytest.raises(ValueError, match="recorded twice"):
        records.decisions(tmp_path)


def test_a_worker_that_never_ran_has_no_records(tmp_path: Path) -> None:
    assert records.decisions(tmp_path / "worker-0") == {}
