"""What was seen outside beyond this disk counts if our own key signed it, and then the store knows it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz.errors import IntegrityViolation
from authz.followers.anchors import seen
from authz.followers.anchors.anchor import Candidate, Receipt, Unavailable
from authz.ledger import keys, notes
from authz.ledger.checkpoints import CheckpointStore
from tests import ledgers
from tests.unit.followers.anchors.logs import LOG

PUBLIC = keys.public_key(ledgers.LOG_SEED)
ROOT = b"\x07" * 32


class Holding:
    """An anchor that holds one note, or raises."""

    kind, every_s = "directory", 1.0

    def __init__(self, held: bytes | Exception | None) -> None:
        self.held = held

    def put(self, candidate: Candidate) -> Receipt:
        raise NotImplementedError

    def larger(self, log: str, size: int) -> bytes | None:
        if isinstance(self.held, Exception):
            raise self.held
        return self.held

    def logs(self, prefix: str) -> list[str]:
        return []


def note(size: int, root: bytes = ROOT, seed: bytes = ledgers.LOG_SEED, log: str = LOG) -> bytes:
    return notes.sign(log, size, root, seed)


def beyond(*held: bytes | Exception | None, size: int = 5, wait_s: float = 30) -> list[tuple[int, bytes]]:
    return sorted(seen.beyond([Holding(each) for each in held], LOG, size, [PUBLIC], wait_s))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CheckpointStore]:
    made = CheckpointStore(tmp_path / "checkpoints.sqlite")
    yield made
    made.close()


def test_every_anchor_is_heard(store: CheckpointStore) -> None:
    assert beyond(note(9), None, note(7)) == [(7, ROOT), (9, ROOT)]
    assert beyond() == []


@pytest.mark.parametrize(
    "held",
    [
        note(9, seed=ledgers.OTHER_SEED),
        note(9, log="aegis.test/worker-0/20260101T000000Z-0000000000000009"),
        note(5),
        note(4),
        b"nonsense",
        Unavailable("not now"),
    ],
)
def test_what_our_key_did_not_sign_or_is_no_more_than_here_counts_for_nothing(
    held: bytes | Exception,
) -> None:
    assert beyond(held, note(8)) == [(8, ROOT)]


def test_nobody_is_waited_for_longer_than_was_said() -> None:
    go_on = threading.Event()

    class Hanging(Holding):
        def larger(self, log: str, size: int) -> bytes | None:
            go_on.wait(30)
            return note(9)

    found = seen.beyond([Hanging(None), Holding(note(8))], LOG, 5, [PUBLIC], 0.5)
    go_on.set()
    assert found == [(8, ROOT)]


def test_the_store_knows_the_largest_afterwards(store: CheckpointStore) -> None:
    store.advance(LOG, 5, ROOT, expected=0)
    seen.learn(store, LOG, [(9, ROOT), (7, ROOT)])
    assert store.latest(LOG) == (9, ROOT)
    seen.learn(store, LOG, [(7, b"\x01" * 32)])  # below: for the verifier to judge
    assert store.latest(LOG) == (9, ROOT)


def test_a_log_that_was_never_sealed_here_is_learnt_too(store: CheckpointStore) -> None:
    seen.learn(store, LOG, [(9, ROOT)])
    assert store.latest(LOG) == (9, ROOT)


def test_two_roots_of_one_size_are_two_histories(store: CheckpointStore) -> None:
    store.advance(LOG, 9, ROOT, expected=0)
    with pytest.raises(IntegrityViolation, match="two roots for 9 entries"):
        seen.learn(store, LOG, [(9, b"\x01" * 32)])


class Naming(Holding):
    """Knows logs by name; holds a note of one of them."""

    def __init__(self, names: list[str], held: bytes | None, whose: str) -> None:
        super().__init__(held)
        self.names, self.whose = names, whose

    def logs(self, prefix: str) -> list[str]:
        return [name for name in self.names if name.startswith(prefix)]

    def larger(self, log: str, size: int) -> bytes | None:
        return self.held if log == self.whose else None


def test_a_newer_log_counts_with_a_checkpoint_that_we_signed() -> None:
    prefix = "aegis.test/worker-0/"
    older, newer, made_up = (f"{prefix}2026010{day}T000000Z-0000000000000000" for day in (1, 5, 9))
    asked = seen.AtStart([Naming([older, newer, made_up], note(7, log=newer), newer)], 30)
    assert asked.newer(prefix, older, [PUBLIC]) == [newer]
    assert asked.newer(prefix, newer, [PUBLIC]) == []
    assert asked.newer("aegis.test/worker-1/", "", [PUBLIC]) == []


def test_many_names_that_somebody_made_up_do_not_hold_up_a_start() -> None:
    names = [
        f"aegis.test/worker-0/2026010{day}T{hour:02}0000Z-0" for day in range(1, 9) for hour in range(24)
    ]
    asked: list[str] = []

    class Counting(Naming):
        def larger(self, log: str, size: int) -> bytes | None:
            asked.append(log)
            return None

    assert seen.AtStart([Counting(names, None, "")], 30).newer("aegis.test/", "", [PUBLIC]) == []
    assert asked == names[-seen.MAX_NEWER :]
