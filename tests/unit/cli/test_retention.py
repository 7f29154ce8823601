"""`aegis prune`, `hold`, `restore`: what a person does about how long records stay."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from authz.cli.main import app
from authz.ledger.outbox import Outbox
from tests import retaining
from tests.workers import Worker

ENVIRONMENT = {
    "AEGIS_DEPLOYMENT": "aegis.test",
    "AEGIS_RETENTION__DEFAULT_DAYS": "365",
    "AEGIS_RETENTION__GRACE_DAYS": "0",
}


@pytest.fixture
async def old(worker: Worker) -> Worker:
    """Four epochs of ten years ago."""
    await retaining.aged(worker)
    worker.judged = True
    return worker


def run(worker: Worker, *arguments: str) -> Any:
    return CliRunner(env=ENVIRONMENT).invoke(app, [*arguments, "--state", str(worker.state)])


def events(worker: Worker) -> list[tuple[str, str]]:
    """Kind and action of what was said, taken as the control task does."""
    with Outbox(worker.settings.outbox) as outbox:
        waiting = outbox.waiting(100)
        outbox.written(waiting[-1].number if waiting else 0)
        return [(event.kind, event.members["action"]) for event in waiting]


def test_rounds_of_prune_delete_what_may_go(old: Worker) -> None:
    assert "2 of them" not in run(old, "prune", "--dry-run").output
    assert events(old) == []
    assert run(old, "prune").output.count("planned, due") == 2
    assert events(old) == [("prune", "plan")] * 2
    assert run(old, "prune").output.count("announced") == 2
    assert events(old) == [("prune", "delete")] * 2
    done = run(old, "prune")
    assert (done.exit_code, done.output.count("segment 0: deleted")) == (0, 2)
    assert run(old, "prune").output == "nothing may go yet\n"


def test_what_is_held_is_named_and_stays(old: Worker) -> None:
    assert run(old, "hold", "list").output == "no holds\n"
    done = run(old, "hold", "add", "case-7", "--agent", "a", "--to", "2020-01-01", "--why", "court 12 O 7/26")
    assert (done.exit_code, done.output) == (0, "case-7: holds\n")
    assert "agent a, to 2020-01-01T00:00:00.000000Z; " in run(old, "hold", "list").output
    assert run(old, "prune").output.count("held by case-7") == 2
    assert run(old, "hold", "release", "case-7", "--why", "closed").output == "case-7: released\n"
    assert events(old) == [("hold", "set"), ("hold", "lift")]
    assert run(old, "prune").output.count("planned") == 2


def test_what_is_held_is_not_erased_either(old: Worker) -> None:
    run(old, "hold", "add", "case-7", "--agent", "a", "--why", "court")
    done = run(old, "erase", "--agent", "a", "--why", "request")
    assert (done.exit_code, "nothing is erased: hold case-7 covers entry" in done.output) == (2, True)
    assert run(old, "erase", "--agent", "b", "--why", "request").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hold", "add", "a/b", "--why", "x"], "a hold's name has letters"),
        (["hold", "add", "case", "--why", ""], "why"),
        (["hold", "release", "case", "--why", "x"], "case: there is no such hold"),
        (["hold", "add", "case", "--why", "x", "--from", "soon"], "--from: soon: not RFC 3339"),
        (["restore", "d/w/e", "0", "--why", "x"], "there is no archive"),
    ],
)
def test_what_cannot_be_done_is_named(old: Worker, arguments: list[str], said: str) -> None:
    done = run(old, *arguments)
    assert (done.exit_code, said in done.output) == (2, True), done.output
