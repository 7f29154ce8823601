"""Every store of what was ever signed keeps one promise: it only grows, for all processes at once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from authz.errors import EvidenceUnavailable, IntegrityViolation
from authz.ledger.checkpoints import Checkpoints
from tests.stores import Place

LOG = "aegis.test/worker-0/20260101T000000Z-0000000000000000"
ROOT, OTHER = b"\x01" * 32, b"\x02" * 32
STEPS = 100


@pytest.fixture
def store(place: Place) -> Iterator[Checkpoints]:
    with place.opened() as made:
        yield made


def test_a_log_moves_from_size_to_size(store: Checkpoints) -> None:
    assert store.latest(LOG) is None
    assert store.advance(LOG, 5, ROOT, expected=0)
    assert store.advance(LOG, 9, OTHER, expected=5)
    assert store.latest(LOG) == (9, OTHER)


def test_the_same_checkpoint_may_be_signed_again(store: Checkpoints) -> None:
    """A process killed between the swap and the signature has to."""
    store.advance(LOG, 5, ROOT, expected=0)
    assert store.advance(LOG, 5, ROOT, expected=5)
    assert store.advance(LOG, 5, ROOT, expected=0)


@pytest.mark.parametrize("expected", [0, 5])
def test_two_roots_of_one_size_are_a_violation(store: Checkpoints, expected: int) -> None:
    store.advance(LOG, 5, ROOT, expected=0)
    with pytest.raises(IntegrityViolation, match="two roots for 5 entries"):
        store.advance(LOG, 5, OTHER, expected=expected)
    assert store.latest(LOG) == (5, ROOT)


def test_a_smaller_size_is_a_violation(store: Checkpoints) -> None:
    store.advance(LOG, 5, ROOT, expected=0)
    with pytest.raises(IntegrityViolation, match="4 entries after one of 5"):
        store.advance(LOG, 4, ROOT, expected=5)
    assert store.latest(LOG) == (5, ROOT)


@pytest.mark.parametrize(("size", "expected"), [(4, 0), (4, 3), (9, 0), (9, 4), (9, 8)])
def test_who_does_not_know_the_stored_size_has_to_look_again(
    store: Checkpoints, size: int, expected: int
) -> None:
    store.advance(LOG, 5, ROOT, expected=0)
    assert not store.advance(LOG, size, OTHER, expected=expected)
    assert store.latest(LOG) == (5, ROOT)


def test_logs_of_a_worker_come_oldest_first_and_nobody_elses(store: Checkpoints) -> None:
    names = [f"a/w{worker}/2026010{day}T000000Z-{day:016x}" for worker in ("", "_") for day in (3, 1, 2)]
    for name in names:
        store.advance(name, 1, ROOT, expected=0)
    assert store.logs("a/w/") == sorted(names[:3])
    assert store.logs("a/w_/") == sorted(names[3:])
    assert store.logs("a/w%/") == []


@pytest.mark.parametrize(("size", "root"), [(0, ROOT), (1, b"short")])
def test_what_is_no_checkpoint_is_not_stored(store: Checkpoints, size: int, root: bytes) -> None:
    with pytest.raises((EvidenceUnavailable, ValueError)):
        store.advance(LOG, size, root, expected=0)
    assert store.latest(LOG) is None


def test_what_is_stored_outlives_the_process(place: Place) -> None:
    with place.opened() as first:
        assert first.advance(LOG, 5, ROOT, expected=0)
    with place.opened() as second:
        assert second.latest(LOG) == (5, ROOT)


def test_what_a_reader_sees_is_what_was_signed_and_before_that_nothing(place: Place) -> None:
    early = place.open(read_only=True)
    if early:  # a file that is not there cannot be opened
        assert (early.latest(LOG), early.logs("")) == (None, [])
        early.close()
    with place.opened() as store:
        store.advance(LOG, 5, ROOT, expected=0)
    late = place.open(read_only=True)
    assert late is not None
    assert (late.latest(LOG), late.logs("aegis.test/worker-0/")) == ((5, ROOT), [LOG])
    late.close()


def test_who_looked_before_another_moved_it_has_to_look_again(place: Place) -> None:
    with place.opened() as one, place.opened() as two:
        assert one.advance(LOG, 5, ROOT, expected=0)
        assert two.advance(LOG, 7, ROOT, expected=5)
        assert not one.advance(LOG, 9, OTHER, expected=5)
        assert one.latest(LOG) == (7, ROOT)


def test_of_processes_that_race_one_wins_each_size(place: Place, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    with place.opened():
        pass
    files = [tmp_path / f"won-{number}" for number in range(3)]
    racers = [
        context.Process(target=_race, args=(place, number, start, file)) for number, file in enumerate(files)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    steps = [int(line) for file in files for line in file.read_text().split()]
    assert sorted(steps) == list(range(1, STEPS + 1))


def _race(place: Place, number: int, start: Barrier, won: Path) -> None:
    """Move the log up by one, again and again, always from what is stored; note every step won."""
    with place.opened() as store, won.open("w") as file:
        start.wait()
        while (size := (store.latest(LOG) or (0, b""))[0]) < STEPS:
            try:
                moved = store.advance(LOG, size + 1, bytes([number]) * 32, expected=size)
            except IntegrityViolation:  # another one signed this size meanwhile
                continue
            if moved:
                file.write(f"{size + 1}\n")
