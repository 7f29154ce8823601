"""The outbox: durable, in order, for many processes, and nothing in it that is no entry."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from authz.errors import EvidenceUnavailable
from authz.ledger import outbox as module
from authz.ledger.outbox import Outbox
from tests.unit.ledger.samples import EVENTS, LOG

HOLD = {"name": "case", "who": "ana", "why": "court", "action": "lift"}


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "control.sqlite", clock_ns=lambda: 1_767_225_600_000_000_000) as made:
        yield made


def test_events_come_back_in_the_order_in_which_they_were_put(outbox: Outbox) -> None:
    for kind, members in EVENTS:
        outbox.put(kind, members)
    found = outbox.waiting(100)
    assert [(event.kind, event.members) for event in found] == EVENTS
    assert [event.number for event in found] == list(range(1, len(EVENTS) + 1))
    assert {event.at for event in found} == {"2026-01-01T00:00:00.000000Z"}
    assert len({event.event_id for event in found}) == len(EVENTS)


def test_what_is_written_is_forgotten_and_its_number_not_given_again(outbox: Outbox) -> None:
    for number in range(4):
        outbox.put("hold", HOLD | {"name": f"case-{number}"})
    outbox.written(outbox.waiting(2)[-1].number)
    assert [event.members["name"] for event in outbox.waiting(9)] == ["case-2", "case-3"]
    outbox.written(4)
    assert outbox.count() == 0
    outbox.put("hold", HOLD)
    assert outbox.waiting(9)[0].number == 5


def test_under_one_key_only_the_first_is_kept_whatever_became_of_it(outbox: Outbox) -> None:
    for name in ("first", "second"):
        outbox.put("hold", HOLD | {"name": name}, once="key")
    assert [event.members["name"] for event in outbox.waiting(9)] == ["first"]
    outbox.written(1)
    outbox.put("hold", HOLD, once="key")
    assert outbox.count() == 0
    outbox.put("hold", HOLD, once="other")
    assert outbox.count() == 1


def test_a_change_is_put_by_whoever_sees_it_first(outbox: Outbox) -> None:
    at = "2026-01-01T00:00:00.000000Z"
    for value, since in (("", ""), ("on", at), ("on", at), ("", at), ("on", at)):
        assert outbox.put_change("hold", HOLD | {"name": value or "off"}, of="state", value=value) == since
    assert [event.members["name"] for event in outbox.waiting(9)] == ["on", "off", "on"]
    outbox.put_change("hold", HOLD, of="another", value="on")
    assert outbox.count() == 4


def test_a_change_that_cannot_be_kept_is_not_taken_for_put(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 0)
    with pytest.raises(EvidenceUnavailable):
        outbox.put_change("hold", HOLD, of="state", value="on")
    monkeypatch.undo()
    outbox.put_change("hold", HOLD, of="state", value="on")
    assert outbox.count() == 1


def test_a_key_is_not_used_up_by_an_event_that_could_not_be_kept(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 0)
    with pytest.raises(EvidenceUnavailable):
        outbox.put("hold", HOLD, once="key")
    monkeypatch.undo()
    outbox.put("hold", HOLD, once="key")
    assert outbox.count() == 1


@pytest.mark.parametrize(
    ("kind", "members", "named"),
    [
        ("decision", {}, "kind: "),
        ("hold", HOLD | {"why": ""}, "why: "),
        ("hold", HOLD | {"secret": "x"}, "secret: "),
        ("log_head", {"of": LOG, "size": 2**60, "root": "0" * 64}, ""),
        ("access", {**HOLD, "names": ["\ud800"]}, ""),
        ("hold", {"name": "n", "who": "w", "why": "\ud800", "action": "lift"}, ""),
    ],
)
def test_what_could_be_no_entry_is_refused_and_nothing_kept(
    outbox: Outbox, kind: str, members: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=f"^{named}"):
        outbox.put(kind, members)
    assert outbox.count() == 0


def test_an_event_too_long_for_an_entry_is_refused(outbox: Outbox) -> None:
    names = ["é" * 255] * 64
    access = {"who": "ana", "why": "asked", "of": LOG, "at_seq": 1, "names": names}
    with pytest.raises(ValueError, match="over the limit of 12288"):
        outbox.put("access", access)
    assert outbox.count() == 0


def test_a_full_outbox_refuses(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    for _ in range(3):
        outbox.put("hold", HOLD)
    with pytest.raises(EvidenceUnavailable, match=r"control\.sqlite: 3 events wait"):
        outbox.put("hold", HOLD)
    outbox.written(1)
    outbox.put("hold", HOLD)


def test_what_is_put_outlives_a_process_that_is_killed_at_once(tmp_path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(
        target=_put_and_die, args=(tmp_path / "control.sqlite",)
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    with Outbox(tmp_path / "control.sqlite") as outbox:
        assert [event.members for event in outbox.waiting(9)] == [HOLD]


def _put_and_die(path: Path) -> None:
    Outbox(path).put("hold", HOLD)
    os.kill(os.getpid(), signal.SIGKILL)


def test_of_many_processes_nothing_is_lost(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    path, start = tmp_path / "control.sqlite", context.Barrier(3)
    Outbox(path).close()
    putting = [context.Process(target=_put_many, args=(path, number, start)) for number in range(3)]
    for process in putting:
        process.start()
    for process in putting:
        process.join(60)
        assert process.exitcode == 0
    with Outbox(path) as outbox:
        names = [event.members["name"] for event in outbox.waiting(1000)]
    assert sorted(names) == sorted(f"{number}-{each}" for number in range(3) for each in range(30))
    for number in range(3):
        mine = [int(name.partition("-")[2]) for name in names if name.startswith(f"{number}-")]
        assert mine == list(range(30))


def _put_many(path: Path, number: int, start: Barrier) -> None:
    with Outbox(path) as outbox:
        start.wait()
        for each in range(30):
            outbox.put("hold", HOLD | {"name": f"{number}-{each}"})


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "control.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(EvidenceUnavailable, match=r"control\.sqlite: file is not a database"):
        Outbox(tmp_path / "control.sqlite")


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvidenceUnavailable, match="gone/control"):
        Outbox(tmp_path / "gone/control.sqlite")


def test_a_database_that_another_process_holds_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_S", 0.01)
    with Outbox(tmp_path / "control.sqlite") as outbox:
        other = sqlite3.connect(tmp_path / "control.sqlite", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(EvidenceUnavailable, match="locked"):
            outbox.put("hold", HOLD)
        other.close()
        outbox.put("hold", HOLD)
