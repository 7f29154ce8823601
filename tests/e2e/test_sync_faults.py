"""A disk whose syncs hang or fail, or that is full, under a real worker and follower behind real Envoy.

strace holds the system calls back or lets them fail while agents ask. Whatever happens, nobody is answered
and nothing goes out without its record.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from authz.app import EXIT_LEDGER_FAILED
from authz.cli.serve import EXIT_CANNOT_START
from authz.ledger.outcomes import join
from authz.up import records
from authz.up.deployment import program
from authz.up.traffic import CHARGE, CHARGES, DECISION_ID, RECORDS
from tests.e2e.stack import Stack, running
from tests.strace import injected, under

READERS, PAYERS = 3, 2
JSON = {"content-type": "application/json"}
HANG_S = 3.0  # several times what Envoy waits for an answer
SLOW_S = 0.15  # and a fraction of it
Entry = dict[str, Any]

pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True)
class Answer:
    """`decision_id` is "" where the answer names no record; `asked` is a moment of time.perf_counter."""

    paying: bool
    status: int
    decision_id: str
    asked: float
    seconds: float


class Load:
    """Agents that read (bounded: a sync may be late) and pay (synced, by policy), until the block ends."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.answers: list[Answer] = []
        self._stop, self._patients = threading.Event(), count()
        agents = [self._read] * READERS + [self._pay] * PAYERS
        self._threads = [threading.Thread(target=self._ask, args=(agent,)) for agent in agents]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def asked(self, since: float, *, paying: bool) -> list[Answer]:
        """The answers to what was asked since then."""
        return [each for each in self.answers if each.asked > since and each.paying is paying]

    def wait(self, true: Callable[[], Any], what: str) -> None:
        self.stack.processes.wait("envoy", lambda: bool(true()), what, 60)

    def goes_on(self) -> None:
        """Until both are allowed what they ask from now on."""
        now = time.perf_counter()
        for paying in (False, True):
            self.wait(lambda: self._allowed(now, paying) > 5, "allowing")  # noqa: B023 - called at once

    def _allowed(self, since: float, paying: bool) -> int:
        return sum(each.status == 200 for each in self.asked(since, paying=paying))

    def check(self) -> None:
        """Every answer that names a record has it; whatever reached the upstream has its recorded allow."""
        written = records.decisions(self.stack.ledger)
        told = [each for each in self.answers if each.decision_id]
        assert {each.decision_id for each in told} <= written.keys()
        assert all((each.status == 200) is allows(written[each.decision_id]) for each in told)
        assert not [each for each in self.answers if each.status == 200 and not each.decision_id]
        assert self.went_out() <= {entry["request_id"] for entry in written.values() if allows(entry)}
        assert join(self.stack.ledger, 0.0).breaches == 0

    def went_out(self) -> set[str]:
        """The ids of the requests that reached the upstream."""
        return {seen["headers"]["x-request-id"] for seen in self.stack.upstream.seen}

    def _ask(self, agent: Callable[[httpx.Client], httpx.Response]) -> None:
        name = "billing-agent" if agent == self._pay else "clinical-agent"
        with self.stack.client(name) as client:
            while not self._stop.is_set():
                asked = time.perf_counter()
                answer = agent(client)
                seconds = time.perf_counter() - asked
                decision = answer.headers.get(DECISION_ID, "")
                self.answers.append(Answer(agent == self._pay, answer.status_code, decision, asked, seconds))
                self._stop.wait(0.02)

    def _read(self, client: httpx.Client) -> httpx.Response:
        return client.get(RECORDS.replace("/17/", f"/{next(self._patients)}/"))

    def _pay(self, client: httpx.Client) -> httpx.Response:
        return client.post(CHARGES, content=CHARGE, headers=JSON)


def allows(entry: Entry) -> bool:
    return bool(entry["decision"] == "allow")


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Like `stack`, but everybody waits for the sync."""
    with running(tmp_path_factory.mktemp("strict"), ledger={"reply_after": "synced"}) as started:
        yield started


@contextmanager
def loaded(stack: Stack) -> Iterator[Load]:
    """Under load until it goes on after the block; then records are held against answers."""
    load = Load(stack)
    try:
        load.goes_on()
        yield load
        load.goes_on()
    finally:
        load.end()
    load.check()


def injected_into(
    load: Load, fault: str, path: Path | None = None, who: str = "worker"
) -> AbstractContextManager[None]:
    return injected(load.stack.processes, who, fault, path)


def entries(stack: Stack, *kinds: str) -> list[Entry]:
    return [
        entry
        for epoch in records.epochs(stack.ledger)
        for entry in records.entries(epoch)
        if entry["kind"] in kinds
    ]


def newest(stack: Stack) -> Path:
    return records.epochs(stack.ledger)[-1]


def size(stack: Stack) -> int:
    """Entries of the newest epoch."""
    return sum(1 for _ in records.entries(newest(stack)))


def sealed_upto(stack: Stack) -> int:
    """Entries of the newest epoch under its checkpoint."""
    note = newest(stack) / "checkpoint"
    return int(note.read_text().split("\n")[1]) if note.exists() else 0


def refusals(stack: Stack) -> set[str]:
    """Reasons of the answers that left without a record, as heartbeats say."""
    return {each["reason_code"] for beat in entries(stack, "heartbeat") for each in beat.get("refusals", ())}


def ended(stack: Stack) -> bool:
    """Whether the worker ended by itself."""
    return stack.processes.status("worker") is not None


def goes_on_in_a_new_epoch(stack: Stack) -> Path:
    """The worker that ended says why, and the next one that the old epoch, which is returned, was left."""
    old = newest(stack)
    assert stack.processes.stop("worker") == EXIT_LEDGER_FAILED
    stack.deployment.start_worker()
    assert newest(stack) != old
    gap = entries(stack, "gap")[-1]
    assert gap["log"].endswith(newest(stack).name)
    assert (gap["old_log"].rpartition("/")[2], gap["why"]) == (old.name, "a sync failed")
    return old


def test_while_a_sync_hangs_bounded_answers_leave_and_say_so_and_synced_ones_never_do(stack: Stack) -> None:
    older = records.decisions(stack.ledger).keys()
    with loaded(stack) as load:
        with injected_into(load, f"fdatasync:delay_enter={HANG_S:.0f}s"):
            since = time.perf_counter()
            load.wait(lambda: len(load.asked(since, paying=False)) > 20, "answering who needs no sync")
            load.wait(lambda: len(load.asked(since, paying=True)) > 5, "denying who needs it")
            read, paid = (load.asked(since, paying=paying) for paying in (False, True))
        load.goes_on()
        written = {name: each for name, each in records.decisions(stack.ledger).items() if name not in older}
        left = [each for each in entries(stack, "late_sync") if each["state"] == "ended"]
    early = {each.decision_id for each in read if each.status == 200} & {
        entry["decision_id"]
        for entry in written.values()
        for late in left
        if late["log"] == entry["log"] and late["first_seq"] <= entry["seq"] <= late["last_seq"]
    }
    assert len(early) > 10
    assert {written[identity]["reply_after"] for identity in early} == {"bounded"}
    assert {(each.status, each.decision_id) for each in paid} == {(503, "")}  # Envoy gave up waiting
    told = {each.decision_id for each in load.answers}
    unheard = [entry for entry in written.values() if allows(entry) and entry["decision_id"] not in told]
    assert {entry["reply_after"] for entry in unheard} >= {"synced"}
    assert not {entry["request_id"] for entry in unheard} & load.went_out()


def test_who_asked_for_it_waits_for_a_slow_sync_and_others_do_not(stack: Stack) -> None:
    with loaded(stack) as load, injected_into(load, f"fdatasync:delay_enter={SLOW_S:.2f}s"):
        since = time.perf_counter()
        load.goes_on()
        read, paid = (load.asked(since, paying=paying) for paying in (False, True))
    assert min(each.seconds for each in paid if each.decision_id) >= SLOW_S
    assert min(each.seconds for each in read if each.decision_id) < SLOW_S


def test_with_synced_for_all_everybody_waits_for_a_slow_sync(strict: Stack) -> None:
    with loaded(strict) as load, injected_into(load, f"fdatasync:delay_enter={SLOW_S:.2f}s"):
        since = time.perf_counter()
        load.goes_on()
        during = load.asked(since, paying=False) + load.asked(since, paying=True)
    assert min(each.seconds for each in during if each.decision_id) >= SLOW_S
    assert entries(strict, "late_sync") == []


@pytest.mark.parametrize("fixture", ["stack", "strict"])
@pytest.mark.parametrize("when", [":when=1", ""], ids=["once", "for good"])
def test_after_a_failed_sync_the_worker_stops_and_goes_on_in_a_new_epoch_with_a_gap(
    request: pytest.FixtureRequest, when: str, fixture: str
) -> None:
    with loaded(request.getfixturevalue(fixture)) as load:
        with injected_into(load, f"fdatasync:error=EIO{when}"):
            load.wait(lambda: ended(load.stack), "ending")
        goes_on_in_a_new_epoch(load.stack)


def test_a_worker_does_not_start_on_a_disk_that_cannot_sync(stack: Stack) -> None:
    serve = [str(program("aegis")), "serve", "--config", str(stack.deployment.config)]
    stack.processes.stop("worker")
    stack.processes.start("worker", *under("fdatasync:error=EIO"), *serve)
    stack.processes.wait("follower", lambda: ended(stack), "ending")
    assert stack.processes.stop("worker") == EXIT_CANNOT_START
    assert "Input/output error" in stack.processes.log("worker").read_text().splitlines()[-1]
    stack.deployment.start_worker()


def test_a_full_disk_denies_and_with_room_the_same_epoch_goes_on(stack: Stack) -> None:
    with loaded(stack) as load:
        epoch = newest(stack)
        with injected_into(load, "write:error=ENOSPC", epoch / "entries/00000000.jsonl"):
            full, since = size(stack), time.perf_counter()
            load.wait(lambda: len(load.asked(since, paying=False)) > 20, "denying")
            assert {each.status for each in load.asked(since, paying=False)} == {503}
            assert size(stack) == full
        load.goes_on()
        load.wait(lambda: "evidence_unavailable" in refusals(stack), "saying what was refused")
        assert newest(stack) == epoch


def test_a_follower_whose_syncs_hang_holds_up_nobody_and_catches_up(stack: Stack) -> None:
    with loaded(stack) as load:
        with injected_into(load, f"fdatasync:delay_enter={HANG_S:.0f}s", who="follower"):
            load.goes_on()
        there = size(stack)
        load.wait(lambda: sealed_upto(stack) >= there, "sealing again")


def test_a_follower_that_cannot_keep_its_checkpoint_holds_up_nobody_and_catches_up(stack: Stack) -> None:
    """Its own files (checkpoint, cursors) are synced by fsync, the ledger's by fdatasync."""
    with loaded(stack) as load:
        failures = stack.processes.log("follower").read_text().count("seal_failed")
        with injected_into(load, "fsync:error=EIO", who="follower"):
            load.goes_on()
            load.wait(
                lambda: stack.processes.log("follower").read_text().count("seal_failed") > failures + 1,
                "failing more than once",
            )
        there = size(stack)
        load.wait(lambda: sealed_upto(stack) >= there, "sealing again")


def test_after_a_failed_sync_of_the_follower_the_worker_goes_on_in_a_new_epoch(stack: Stack) -> None:
    with loaded(stack) as load:
        with injected_into(load, "fdatasync:error=EIO:when=1", who="follower"):
            load.wait(lambda: ended(stack), "ending")
        old = goes_on_in_a_new_epoch(stack)
        assert (old / "failed").read_text().startswith("follower's sync")
        load.goes_on()
        there = size(stack)
        load.wait(lambda: sealed_upto(stack) >= there, "sealing the new epoch")
