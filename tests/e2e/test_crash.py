"""A worker killed under load, again and again: whoever was answered finds the record on disk."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from authz.up import records
from authz.up.traffic import TOKEN
from tests.e2e.checks import Answer, Checks, check_request
from tests.e2e.stack import Stack, running

ASKING = 8
HOST = "internal-ehr.myorg.example"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("reply_after", "crashes"), [("bounded", 50), ("synced", 20)])
async def test_no_answer_without_its_record_however_often_the_worker_is_killed(
    reply_after: str, crashes: int, tmp_path: Path
) -> None:
    with running(tmp_path, envoy=False, ledger={"reply_after": reply_after}) as stack:
        answered: dict[str, Answer] = {}
        moments = random.Random(7)
        for _ in range(crashes):
            answered |= await _killed_under_load(stack, after=moments.randrange(1, 400))
            stack.deployment.start_worker()
        written = records.decisions(stack.ledger)
        told = {answer.decision_id: answer.allowed for answer in answered.values()}
        missing = told.keys() - written.keys()
        assert not missing, f"{len(missing)} of {len(told)} answers have no record"
        assert told == {key: written[key]["decision"] == "allow" for key in told}
        assert {True, False} <= set(told.values())
        assert _crashes_recorded(stack) == crashes


async def _killed_under_load(stack: Stack, after: int) -> dict[str, Answer]:
    """Ask until `after` answers came, then kill the worker in the middle of it; every answer by its id."""
    answered: dict[str, Answer] = {}
    enough, killed = asyncio.Event(), asyncio.Event()
    messages = _messages(stack)

    async def ask(checks: Checks) -> None:
        for message in messages:
            try:
                answer = await checks.ask(message)
            except grpc.aio.AioRpcError:
                if not killed.is_set():
                    raise
                return  # the worker is gone: nobody was told anything
            if answer.decision_id:
                answered[answer.decision_id] = answer
            if len(answered) >= after:
                enough.set()

    async with Checks(stack.deployment.places.check_socket) as checks:
        asking = [asyncio.create_task(ask(checks)) for _ in range(ASKING)]
        count = asyncio.create_task(enough.wait())
        await asyncio.wait([count, *asking], return_when=asyncio.FIRST_COMPLETED)  # an error ends it too
        count.cancel()
        killed.set()
        await asyncio.to_thread(stack.processes.kill, "worker")
        await asyncio.wait_for(asyncio.gather(*asking), 30)
    return answered


def _messages(stack: Stack) -> Iterator[bytes]:
    """Allowed and denied ones in turn, cached and not."""
    headers = {TOKEN: stack.issuer.token("clinical-agent")}
    for number in itertools.count():
        yield check_request(HOST, f"/patients/{number % 50}/records", headers)
        yield check_request("files.partner.example", "/patients/export", headers, "POST")


def _crashes_recorded(stack: Stack) -> int:
    """How often a worker says that it found the ledger of one that did not end properly."""
    kinds = [entry["kind"] for epoch in records.epochs(stack.ledger) for entry in records.entries(epoch)]
    return kinds.count("recovery") + kinds.count("gap")
