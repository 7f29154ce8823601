"""Who waits for which entry, and when each is answered (DESIGN section 7).

    add --wrote--> waiting for the sync --synced--> answered
                        `-- bounded: the bound passes --> `late_sync` is written --> answered

In: futures with the place of their entry. Out: the futures' results. Owned by the writer, on its event loop.
It must never answer before the entry's bytes are written, nor answer early before a word of that is (with a
bound of 0, where nobody waits, the word follows). Batches
are kept, not waiters one by one, and only as long as somebody in them waits: `listen.waiting` bounds them,
however long a sync hangs.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from msgspec import Struct

from authz.errors import EvidenceUnavailable
from authz.ledger.chain import Written

NOTICE_S: Final = (
    0.010  # with a bound of 0 nobody waits; a sync that takes longer than this is named all the same
)
_EARLY_S: Final = 0.001  # a timer of a millisecond's grain may fire this much early

Future = asyncio.Future[Written]
_Waiter = tuple[Future, Written]


class _Batch(Struct):
    upto: int  # all of its entries have a smaller seq
    since: float  # monotonic seconds at which its bytes were written
    waiters: list[_Waiter]
    answered: int = 0


class Lateness:
    """Says in the log what was answered before its sync: one `late_sync` entry when it begins, one when the
    sync is through. `say` appends an entry and may raise EvidenceUnavailable.
    """

    def __init__(self, say: Callable[[str, dict[str, Any]], Future]) -> None:
        self.begun = 0  # times that answers began to leave early
        self._say = say
        self._word: Future | None = None  # the one that begins a range, while it may not be written
        self._first = self._last = -1  # the range answered early, -1 for none
        self._answers = 0
        self._longest_s = 0.0

    def begin(self, first: int, waited_s: float) -> bool:
        """Whether it is written that answers leave early, here that of entry `first` after so long. If not it
        is said, and written in this turn of the loop: to be asked again in the next one.

        Raises EvidenceUnavailable if no word of it can be left: then they must not.
        """
        if self._first < 0:
            waited_us = int(waited_s * 1e6)
            self._word = self._say(
                "late_sync", {"state": "begun", "first_seq": first, "waited_us": waited_us}
            )
            self._add(first, first, 0, waited_s)
            return False
        word, self._word = self._word, None
        if word is not None:
            self._check_begun(word)
        return True

    def answered(self, first: int, last: int, answers: int, waited_s: float) -> None:
        """Entries `first` to `last` are answered before their sync, after so long; `begin` was true."""
        self._add(first, last, answers, waited_s)

    def _check_begun(self, word: Future) -> None:
        fault = word.exception() if word.done() and not word.cancelled() else None
        if fault is None:
            self.begun += 1
            return
        if not self._answers:  # otherwise an older range is still open, and this one becomes a part of it
            self._first = self._last = -1
        raise EvidenceUnavailable(str(fault))

    def synced(self, upto: int) -> None:
        """All entries before `upto` are durable now."""
        if 0 <= self._last < upto:
            self.end()

    def end(self) -> None:
        """Name the range, and start anew. What cannot be said now is said with the next range."""
        if self._first < 0:
            return
        members = {
            "state": "ended",
            "first_seq": self._first,
            "last_seq": self._last,
            "answers": self._answers,
            "waited_us": int(self._longest_s * 1e6),
        }
        with suppress(EvidenceUnavailable):
            said = self._say("late_sync", members)
            said.add_done_callback(
                partial(self._check, self._first, self._last, self._answers, self._longest_s)
            )
            self._first, self._last, self._answers, self._longest_s = -1, -1, 0, 0.0

    def _check(self, first: int, last: int, answers: int, longest_s: float, said: Future) -> None:
        if not said.cancelled() and said.exception() is not None:
            self._add(first, last, answers, longest_s)

    def _add(self, first: int, last: int, answers: int, longest_s: float) -> None:
        self._first = first if self._first < 0 else min(first, self._first)
        self._last = max(last, self._last)
        self._answers += answers
        self._longest_s = max(longest_s, self._longest_s)


class Waiters:
    """`bound_s`: longest wait for a sync of those that did not ask for one; None to wait always."""

    def __init__(self, bound_s: float | None, lateness: Lateness) -> None:
        self._bound_s, self._lateness = bound_s, lateness
        self._window_s = bound_s or NOTICE_S
        self._loop = asyncio.get_running_loop()
        self._new_strict: list[_Waiter] = []
        self._new_loose: list[_Waiter] = []
        self._strict: deque[_Batch] = deque()
        self._loose: deque[_Batch] = deque()
        self._timer: asyncio.Handle | None = None

    def add(self, written: Written, *, synced: bool) -> Future:
        """For an entry that is not written yet; `synced`: it waits for the sync whatever the bound."""
        future: Future = self._loop.create_future()
        new = self._new_strict if synced or self._bound_s is None else self._new_loose
        new.append((future, written))
        return future

    def wrote(self, upto: int) -> None:
        """The bytes of all entries before `upto` are written."""
        now = time.monotonic()
        strict, self._new_strict = _split(self._new_strict, upto)
        if strict:
            self._strict.append(_Batch(upto, now, strict))
        loose, self._new_loose = _split(self._new_loose, upto)
        if loose:
            batch = _Batch(upto, now, loose)
            self._loose.append(batch)
            if not self._bound_s:
                batch.answered = _answer(batch)
            if self._timer is None:
                self._timer = self._loop.call_later(self._window_s, self._look)

    def synced(self, upto: int) -> None:
        """All entries before `upto` are durable."""
        for batches in (self._strict, self._loose):
            while batches and batches[0].upto <= upto:
                _answer(batches.popleft())
        self._lateness.synced(upto)

    def fail_unwritten(self, why: str) -> int:
        """What was not written never will be. How many entries that concerns."""
        failed = self._new_strict + self._new_loose
        self._new_strict, self._new_loose = [], []
        _fail(failed, why)
        return len(failed)

    def fail_all(self, why: str) -> None:
        """Nobody gets an answer any more."""
        batches = [*self._strict, *self._loose]
        self._strict.clear()
        self._loose.clear()
        self.fail_unwritten(why)
        for batch in batches:
            _fail(batch.waiters, why)

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _look(self) -> None:
        """Answer those who have waited for their bound."""
        self._timer = None
        now = time.monotonic()
        try:
            while self._loose and now - self._loose[0].since >= self._window_s - _EARLY_S:
                if not self._answer_early(self._loose[0], now):
                    self._timer = self._loop.call_soon(self._look)  # after the write of this turn
                    return
                self._loose.popleft()
        except EvidenceUnavailable:  # the log can take no word of it: they wait for the sync after all
            return
        if self._loose:
            left = self._loose[0].since + self._window_s - now
            self._timer = self._loop.call_later(max(0.0, left), self._look)

    def _answer_early(self, batch: _Batch, now: float) -> bool:
        """Whether nobody in `batch` has to wait any more."""
        answers = batch.answered + sum(not future.done() for future, _ in batch.waiters)
        if not answers:
            return True
        first, last, waited_s = batch.waiters[0][1].seq, batch.waiters[-1][1].seq, now - batch.since
        if not self._lateness.begin(first, waited_s):
            return False
        self._lateness.answered(first, last, answers, waited_s)
        _answer(batch)
        return True


def _split(waiters: list[_Waiter], upto: int) -> tuple[list[_Waiter], list[_Waiter]]:
    """Those whose entries lie before `upto`, and the others."""
    if not waiters or waiters[-1][1].seq < upto:
        return waiters, []
    return [w for w in waiters if w[1].seq < upto], [w for w in waiters if w[1].seq >= upto]


def _answer(batch: _Batch) -> int:
    """Answer all who still wait; how many that were."""
    answered = 0
    for future, written in batch.waiters:
        if not future.done():
            future.set_result(written)
            answered += 1
    return answered


def _fail(waiters: Iterable[_Waiter], why: str) -> None:
    for future, _ in waiters:
        if not future.done():
            future.set_exception(EvidenceUnavailable(why))
            future.exception()  # seen: a waiter that gave up is not an unhandled error
