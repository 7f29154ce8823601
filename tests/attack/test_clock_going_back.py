"""The clock goes back, by accident or by somebody's hand: order is `seq`, and only outside anchors date."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import msgspec
import pytest

from authz.ledger import anchors, verify
from tests import ledgers
from tests.anchored import Outside, trusting
from tests.workers import Worker, decision

HOUR_NS = 3_600_000_000_000
EARLY = "1970-01-01T00:10:00.000000Z"  # 600 s
REVOKED = "1970-01-01T00:33:20.000000Z"  # 2000 s


async def test_entries_stay_in_their_order_and_say_the_time_that_was_read(worker: Worker) -> None:
    hours = count(500_000, -1)
    async with worker.running(clock_ns=lambda: next(hours) * HOUR_NS) as ledger:
        for number in range(4):
            await ledger.append("decision", decision(number))
    (entries,) = worker.check()
    times = [entry["timestamp"] for entry in entries]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == len(times)
    assert [entry["seq"] for entry in entries] == list(range(len(entries)))


@pytest.mark.parametrize("level", [2, 3])
def test_an_entry_put_where_its_time_would_have_it_is_out_of_place(tmp_path: Path, level: int) -> None:
    epoch = ledgers.write(tmp_path, iter([*ledgers.story(4), ledgers.decision(9) | {"timestamp": EARLY}]))
    assert ledgers.check(tmp_path, level).verified
    ledgers.edit(epoch, lambda entries: entries.insert(1, entries.pop()))
    fault = ledgers.found(tmp_path, level)
    assert fault.what == "seq: not 1, which is its place"
    assert (fault.file, fault.line, fault.seq) == (str(epoch / "entries" / "00000000.jsonl"), 2, 1)


def test_a_stolen_key_that_dates_its_entries_before_its_revocation_is_not_believed(tmp_path: Path) -> None:
    """A witness saw four entries at 1000 s; what comes after them says that it is of 600 s."""
    late = (ledgers.decision(number) | {"timestamp": EARLY} for number in (8, 9))
    epoch = ledgers.write(tmp_path / "ledger", iter([*ledgers.story(4), *late]))
    outside = Outside(tmp_path / "outside", epoch)
    outside.cosign(4, at=1000)
    pinned = msgspec.structs.replace(trusting(), revoked={ledgers.SIGNER.kid: REVOKED})
    given = anchors.read([outside.directory], pinned)
    fault = verify.verify(tmp_path / "ledger", pinned, 3, given=given, now=4000).first_fault
    assert fault is not None
    assert (fault.file, fault.line, fault.seq) == (str(epoch / "entries" / "00000000.jsonl"), 5, 4)
    assert f"revoked from {REVOKED} on; no outside anchor dates it before that" in fault.what
