"""What is erased is gone, all else is there, every proof holds, and a crash anywhere changes nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from authz.errors import EvidenceUnavailable, IntegrityViolation
from authz.ledger.disclosures import erase, place, reader
from authz.ledger.disclosures.erase import Epoch, Erasing
from authz.ledger.disclosures.vault import Vault
from authz.ledger.disclosures.wish import Wish
from tests import disclosed
from tests.workers import Worker

AGENT_A = Wish("agent", "a", "", "", "officer", "request 7")
PERSON_4 = Wish("subject", "person-4", "", "", "officer", "request 8")


class Said(list[dict[str, Any]]):
    """The events, in order."""


@pytest.fixture
async def keeping(worker: Worker) -> Worker:
    """Six decisions of the agents a, b, c, a, b, c in an epoch, four more in the next one."""
    disclosed.keeps(worker)
    await disclosed.decide(worker, 6)
    await disclosed.decide(worker, 4, first=6)
    return worker


def erasing(worker: Worker, said: Said, vault: Vault | None = None) -> Erasing:
    def epochs() -> list[Epoch]:
        return [Epoch(path, f"aegis.test/worker-0/{path.name}") for path in worker.epochs]

    return Erasing(worker.state / "erasures", epochs, vault or disclosed.vault(worker), said.append)


def kept(worker: Worker) -> list[str]:
    """Of whom something can still be read: the decisions' numbers, in order."""
    found = []
    for epoch in worker.epochs:
        opener = reader.Opener(epoch, f"aegis.test/worker-0/{epoch.name}", disclosed.vault(worker))
        for number in place.numbers(epoch):
            opened = [opener.open(each) for each in reader.kept(epoch, number)]
            found += [each.line.decision_id for each in opened if each.sd]
    return [str(int(name[-12:], 16)) for name in found]


def keys_of(worker: Worker) -> list[Path]:
    return [stored.file for epoch in worker.epochs for stored in disclosed.vault(worker).stored(epoch)]


def test_an_agent_s_disclosures_go_in_every_epoch_and_all_else_stays(keeping: Worker) -> None:
    said, before = Said(), keeping.check()
    old = keys_of(keeping)
    plan, count = erasing(keeping, said).erase(AGENT_A)
    assert count == 8  # two of each of the decisions 0, 3, 6, 9
    assert kept(keeping) == ["1", "2", "4", "5", "7", "8"]
    assert keeping.check() == before
    assert [(event["erasure_id"], event["count"]) for event in said] == [(plan.erasure_id, 8)]
    assert len(said[0]["logs"]) == 2
    assert not set(old) & set(keys_of(keeping))
    assert list((keeping.state / "erasures").glob("*.json")) == []


def test_what_a_copy_of_the_ledger_holds_is_erased_with_it(keeping: Worker, tmp_path: Path) -> None:
    copy = tmp_path / "backup"
    shutil.copytree(keeping.epochs[0], copy)
    erasing(keeping, Said()).erase(PERSON_4)
    opener = reader.Opener(
        keeping.epochs[0], f"aegis.test/worker-0/{keeping.epochs[0].name}", disclosed.vault(keeping)
    )
    assert all(opener.open(each).erased for each in reader.kept(copy, 0))
    assert kept(keeping) == ["0", "1", "2", "3", "5", "6", "7", "8", "9"]


def test_all_of_a_time_leaves_an_empty_file_and_no_key(keeping: Worker) -> None:
    erasing(keeping, Said()).erase(Wish("time", "", "2000-01-01T00:00:00.000000Z", "", "officer", "old"))
    assert kept(keeping) == []
    assert keys_of(keeping) == []
    keeping.check()


def test_counting_changes_nothing_and_says_nothing(keeping: Worker) -> None:
    said = Said()
    assert sum(erasing(keeping, said).count(AGENT_A).values()) == 8
    assert (len(kept(keeping)), said) == (10, [])


def test_nothing_is_erased_that_could_not_be_said(keeping: Worker) -> None:
    def unable(event: dict[str, Any]) -> None:
        raise EvidenceUnavailable("the outbox is full")

    erases = erasing(keeping, Said())
    erases._say = unable
    with pytest.raises(EvidenceUnavailable):
        erases.erase(AGENT_A)
    assert len(kept(keeping)) == 10
    assert erasing(keeping, Said()).resume() == []


async def test_a_worker_goes_on_while_its_own_epoch_is_erased(worker: Worker) -> None:
    disclosed.keeps(worker)
    async with worker.running() as ledger:
        await asyncio.gather(
            *(disclosed.append(ledger, n, {"facts": n}, agent_id="ab"[n % 2]) for n in range(6))
        )
        await asyncio.to_thread(erasing(worker, Said()).erase, AGENT_A)
        await asyncio.gather(
            *(disclosed.append(ledger, n, {"facts": n}, agent_id="ab"[n % 2]) for n in range(6, 9))
        )
    assert kept(worker) == ["1", "3", "5", "6", "7", "8"]
    worker.check()


class Killed(BaseException):
    """Nothing in the process catches it."""


CALLS = ("_write", "sync", "say", "destroy", "make", "_drop")


def dies_before(call: str, erases: Erasing, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Has the process die before its call number `number` of this name."""
    left = [number]

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*arguments)

        return instead

    owner: Any = {"_write": erase, "sync": erase, "say": erases, "_drop": erases}.get(call, erases._vault)
    name = "_say" if call == "say" else call
    monkeypatch.setattr(owner, name, dying(getattr(owner, name)))


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("call", CALLS)
def test_killed_anywhere_the_next_run_finishes_it(
    keeping: Worker, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    said = Said()
    with monkeypatch.context() as dying:
        first = erasing(keeping, said)
        dies_before(call, first, dying, number)
        try:
            first.erase(AGENT_A)
        except Killed:
            assert said or len(kept(keeping)) == 10
    resumed = erasing(keeping, said).resume()
    if not said:  # it died before there was a plan
        assert (resumed, len(kept(keeping))) == ([], 10)
        return
    assert kept(keeping) == ["1", "2", "4", "5", "7", "8"]
    assert len({event["erasure_id"] for event in said}) == 1
    used = {each.line.key for epoch in keeping.epochs for each in reader.kept(epoch, 0)}
    assert {file.stem.partition("-")[2] for file in keys_of(keeping)} == used
    assert erasing(keeping, said).resume() == []
    keeping.check()


def test_what_was_half_written_by_a_killed_process_is_swept(keeping: Worker) -> None:
    vault, epoch = disclosed.vault(keeping), keeping.epochs[0]
    (vault.place(epoch) / "00000000-0123456789abcdef.new").write_text("half of a key")
    vault.make(epoch, 0)
    erasing(keeping, Said()).erase(PERSON_4)
    assert len(os.listdir(vault.place(epoch))) == 1


def test_a_line_that_is_none_stops_it_before_anything_is_said(keeping: Worker) -> None:
    keeping.judged = True
    with disclosed.file(keeping, 0).open("ab") as file:
        file.write(b"{}\n")
    said = Said()
    with pytest.raises(IntegrityViolation, match="line 7"):
        erasing(keeping, said).erase(AGENT_A)
    assert (said, erasing(keeping, said).resume()) == ([], [])
