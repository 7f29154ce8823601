"""Calls that arrive close together begin together; one that is alone begins at once."""

from __future__ import annotations

import asyncio
from asyncio import Future

import pytest

from authz.wire.bursts import BUSY, LARGEST, Bursts

OTHERS = BUSY - 1  # with the one that arrives they are busy
LONG_S = 3600.0


def gathered(bursts: Bursts, count: int) -> list[Future[None]]:
    turns = [bursts.join(OTHERS) for _ in range(count)]
    assert None not in turns
    return [turn for turn in turns if turn is not None]


@pytest.mark.parametrize("under_way", range(OTHERS))
async def test_with_few_under_way_nobody_waits(under_way: int) -> None:
    assert Bursts(LONG_S).join(under_way) is None


async def test_turned_off_nobody_waits() -> None:
    assert Bursts(0.0).join(1000) is None


async def test_those_who_arrive_meanwhile_begin_with_the_first() -> None:
    bursts = Bursts(0.001)
    order: list[int] = []
    turns = gathered(bursts, 3)
    turns += [turn for turn in [bursts.join(0)] if turn is not None]  # whatever is under way by then
    for number, turn in enumerate(turns):
        turn.add_done_callback(lambda _, number=number: order.append(number))  # type: ignore[misc]
    await turns[0]
    assert [turn.done() for turn in turns] == [True] * 4
    await asyncio.sleep(0)
    assert order == [0, 1, 2, 3]


async def test_after_a_burst_the_next_call_waits_and_after_a_lonely_one_none_does() -> None:
    bursts = Bursts(0.001)
    await asyncio.gather(*gathered(bursts, BUSY))
    lonely = bursts.join(0)
    assert lonely is not None
    await lonely
    assert bursts.join(0) is None


async def test_who_leaves_meanwhile_keeps_nobody_waiting() -> None:
    bursts = Bursts(0.001)
    first, second, third = gathered(bursts, 3)
    second.cancel()
    await asyncio.gather(first, third)
    assert second.cancelled()


async def test_no_more_than_the_bound_wait_for_each_other() -> None:
    bursts = Bursts(0.001)
    turns = gathered(bursts, LARGEST)
    assert bursts.join(OTHERS) is None
    await asyncio.gather(*turns)
    assert bursts.join(OTHERS) is not None
