"""The verdict cache: bounded in size and age, of one scope at a time; flights that share their end."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.policy.cache import LARGEST_QUESTION, Flights, VerdictCache
from authz.values import Decision, Verdict

ONE, TWO = ("aegis/decision", "opa", "v1+1"), ("aegis/decision", "opa", "v2+2")


def verdict(name: str) -> Verdict:
    return Verdict(Decision.ALLOW, "ok", rule=name)


def a_cache(size: int = 3, ttl_s: float = 10.0) -> VerdictCache:
    cache = VerdictCache(size, ttl_s)
    cache.serve(ONE)
    return cache


def test_a_verdict_lives_until_its_time_and_not_a_moment_longer() -> None:
    cache = a_cache(ttl_s=10)
    cache.put(ONE, b"q", verdict("a"), 100.0)
    assert cache.get(ONE, b"q", 109.999) == verdict("a")
    assert cache.get(ONE, b"q", 110.0) is None
    assert (len(cache), cache.hits, cache.misses) == (0, 1, 1)


def test_a_hit_does_not_lengthen_a_life() -> None:
    cache = a_cache(ttl_s=10)
    cache.put(ONE, b"q", verdict("a"), 0.0)
    assert cache.get(ONE, b"q", 9.0)
    assert cache.get(ONE, b"q", 11.0) is None


def test_the_least_recently_used_goes_first() -> None:
    cache = a_cache(size=2)
    cache.put(ONE, b"1", verdict("1"), 0)
    cache.put(ONE, b"2", verdict("2"), 0)
    cache.get(ONE, b"1", 0)
    cache.put(ONE, b"3", verdict("3"), 0)
    assert [cache.get(ONE, name, 0) is not None for name in (b"1", b"2", b"3")] == [True, False, True]
    assert (len(cache), cache.evictions) == (2, 1)


def test_what_nobody_asks_again_does_not_pile_up() -> None:
    cache = a_cache(size=1000, ttl_s=10)
    for number in range(500):
        cache.put(ONE, str(number).encode(), verdict("a"), float(number))
    assert (len(cache), cache.evictions) == (10, 0)


def test_another_scope_drops_everything_and_gets_nothing() -> None:
    cache = a_cache()
    cache.put(ONE, b"q", verdict("a"), 0)
    assert cache.get(TWO, b"q", 0) is None
    cache.serve(TWO)
    assert len(cache) == 0
    assert cache.get(ONE, b"q", 0) is None


def test_a_late_answer_of_an_older_version_does_not_get_in() -> None:
    cache = a_cache()
    cache.serve(TWO)
    cache.put(ONE, b"q", verdict("old"), 0)
    assert len(cache) == 0


def test_the_same_scope_again_drops_nothing() -> None:
    cache = a_cache()
    cache.put(ONE, b"q", verdict("a"), 0)
    cache.serve(ONE)
    assert cache.get(ONE, b"q", 0) == verdict("a")


def test_without_a_life_nothing_is_kept() -> None:
    cache = a_cache(ttl_s=0)
    cache.put(ONE, b"q", verdict("a"), 0)
    assert len(cache) == 0


def test_a_large_question_is_not_kept() -> None:
    cache = a_cache()
    cache.put(ONE, b"q" * LARGEST_QUESTION, verdict("a"), 0)
    cache.put(ONE, b"q" * (LARGEST_QUESTION + 1), verdict("b"), 0)
    assert len(cache) == 1
    assert cache.get(ONE, b"q" * LARGEST_QUESTION, 0) == verdict("a")


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "get", "serve"]),
        st.sampled_from([ONE, TWO]),
        st.integers(0, 5),
        st.integers(0, 4),
    )
)


@given(steps)
def test_a_hit_is_always_the_last_verdict_put_for_its_scope_within_its_life(
    taken: list[tuple[str, tuple[str, str, str], int, int]],
) -> None:
    cache, now, serving = VerdictCache(3, 5.0), 0.0, None
    model: dict[bytes, tuple[float, str]] = {}
    for number, (step, scope, name, passed) in enumerate(taken):
        question, now = b"%d" % name, now + passed
        if step == "serve":
            if scope != serving:
                model.clear()
            serving = scope
            cache.serve(scope)
        elif step == "put":
            cache.put(scope, question, verdict(str(number)), now)
            if scope == serving:
                model[question] = (now, str(number))
        elif (hit := cache.get(scope, question, now)) is not None:
            put_at, rule = model[question]
            assert (scope, hit.rule) == (serving, rule)
            assert now - put_at < 5.0
        assert len(cache) <= 3


async def test_who_joins_a_flight_shares_its_end() -> None:
    flights, go_on = Flights(), asyncio.Event()

    async def fly() -> Verdict:
        await go_on.wait()
        return verdict("a")

    key = ("r", b"q")
    assert flights.join(key) is None
    leader = flights.start(key, fly())
    assert flights.join(key) is leader
    assert flights.join(("r2", b"q")) is None
    go_on.set()
    assert await leader == verdict("a")
    await asyncio.sleep(0)
    assert flights.join(key) is None
    assert flights.shared == 1


async def test_a_failed_flight_that_everybody_left_is_no_unseen_error() -> None:
    flights = Flights()

    async def fail() -> Verdict:
        raise ValueError

    task = flights.start(("r", b"q"), fail())
    with pytest.raises(ValueError):
        await task
    assert flights.join(("r", b"q")) is None


async def test_stopping_cancels_what_still_flies() -> None:
    flights = Flights()
    task = flights.start(("r", b"q"), asyncio.Event().wait())  # type: ignore[arg-type]
    await flights.stop()
    assert task.cancelled()
