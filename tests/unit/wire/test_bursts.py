"""Calls that arrive close together begin together while the loop is short of time; otherwise each at once."""

from __future__ import annotations

import asyncio
import time
from asyncio import Future

import pytest

from authz.wire.bursts import FULL, IDLE, LARGEST, LOOK_S, Bursts
from tests.wire.scripted import Loop


def gathered(bursts: Bursts, count: int) -> list[Future[None]]:
    turns = [bursts.join() for _ in range(count)]
    assert None not in turns
    return [turn for turn in turns if turn is not None]


@pytest.mark.parametrize("part", [0.0, IDLE / 2, IDLE])
async def test_while_the_loop_has_time_nobody_waits(part: float) -> None:
    loop = Loop(part)
    bursts = loop.bursts(3600.0)
    assert [bursts.join() for _ in range(100)] == [None] * 100


async def test_turned_off_nobody_waits() -> None:
    assert Loop(1.0).bursts(0.0).join() is None


@pytest.mark.parametrize(
    ("part", "wait_s"), [(FULL, 0.02), (1.0, 0.02), ((IDLE + FULL) / 2, 0.01), (IDLE, 0.0)]
)
def test_the_busier_the_loop_the_longer_the_wait(part: float, wait_s: float) -> None:
    bursts = Loop(part).bursts(0.02)
    assert [bursts.wait_s() for _ in range(40)][-1] == pytest.approx(wait_s)


def test_after_a_rest_the_first_call_begins_at_once() -> None:
    loop = Loop(1.0)
    bursts = loop.bursts(0.02)
    assert bursts.wait_s() > 0
    loop.part = 0.0
    loop.step_s = 60.0
    assert bursts.wait_s() == 0


def test_between_two_looks_nothing_is_measured() -> None:
    loop = Loop(1.0, step_s=LOOK_S / 4)
    bursts = loop.bursts(0.02)
    assert [bursts.wait_s() > 0 for _ in range(5)] == [False, False, False, True, True]
    assert loop.looks == 2  # one when it was made


async def test_those_who_arrive_meanwhile_begin_with_the_first() -> None:
    loop = Loop(1.0)
    bursts = loop.bursts(0.001)
    order: list[int] = []
    turns = gathered(bursts, 3)
    loop.part = 0.0  # whatever is measured by then
    turns += gathered(bursts, 1)
    for number, turn in enumerate(turns):
        turn.add_done_callback(lambda _, number=number: order.append(number))  # type: ignore[misc]
    await turns[0]
    assert [turn.done() for turn in turns] == [True] * 4
    await asyncio.sleep(0)
    assert order == [0, 1, 2, 3]


async def test_who_leaves_meanwhile_keeps_nobody_waiting() -> None:
    bursts = Loop(1.0).bursts(0.001)
    first, second, third = gathered(bursts, 3)
    second.cancel()
    await asyncio.gather(first, third)
    assert second.cancelled()


async def test_no_more_than_the_bound_wait_for_each_other() -> None:
    bursts = Loop(1.0).bursts(0.001)
    turns = gathered(bursts, LARGEST)
    assert bursts.join() is None
    await asyncio.gather(*turns)
    assert bursts.join() is not None


def test_the_loops_own_thread_is_measured() -> None:
    bursts = Bursts(0.02, clock=time.process_time)  # however much of the machine others take
    until = time.process_time() + 2 * LOOK_S
    while time.process_time() < until:
        pass
    assert bursts.wait_s() == 0.02
