"""Labels: the last of each reviewer counts, and reviewers may disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from authz.errors import EvidenceUnavailable
from authz.ledger.labels import Labels, read
from authz.ledger.outbox import Outbox
from tests.controls import running
from tests.unit.ledger.samples import LOG
from tests.workers import Worker

ONE, TWO = (f"019b7690-0000-7000-8000-00000000000{number}" for number in (1, 2))


def said(decision_id: str, who: str, label: str) -> dict[str, Any]:
    place = {"of": LOG, "at_seq": 1, "why": "looked at it"}
    return place | {"decision_id": decision_id, "who": who, "label": f"{label}_positive"}


def put(outbox: Path, *labels: dict[str, Any]) -> None:
    with Outbox(outbox) as open_outbox:
        for label in labels:
            open_outbox.put("label", label)


async def test_labels_of_the_log_and_those_that_wait_are_one_story(worker: Worker) -> None:
    outbox = worker.settings.outbox
    async with running(worker) as control:
        put(outbox, said(ONE, "ana", "true"), said(TWO, "ana", "true"), said(TWO, "bo", "true"))
        await control.drained()
    put(outbox, said(ONE, "ana", "false"))
    labels = read(worker.root.parent, outbox)
    assert (labels.verdict(ONE), labels.verdict(TWO), labels.waiting) == (
        "false_positive",
        "true_positive",
        1,
    )
    put(outbox, said(TWO, "bo", "false"))
    labels = read(worker.root.parent, outbox)
    assert (labels.verdict(TWO), labels.waiting) == ("disputed", 2)
    assert labels.verdict("another") == ""
    async with running(worker) as control:
        await control.drained()
    assert (read(worker.root.parent, outbox).of, read(worker.root.parent, outbox).waiting) == (labels.of, 0)


def test_an_outbox_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    assert read(tmp_path / "ledger", tmp_path / "control.sqlite") == Labels()
    assert not (tmp_path / "control.sqlite").exists()


def test_an_outbox_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "control.sqlite").write_text("not a database, however long it may be")
    with pytest.raises(EvidenceUnavailable, match=r"control\.sqlite"):
        read(tmp_path / "ledger", tmp_path / "control.sqlite")
