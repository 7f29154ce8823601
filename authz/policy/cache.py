"""Verdicts that may be given again, and one flight for equal questions asked at the same time.

In: the question's bytes and the verdict that an engine gave to exactly them. A cache serves one scope (entry
point, engine, revision) at a time, so the whole key is scope and question; with another scope everything is
dropped. Errors never get in. Called by `stage.py`; time is given by the caller.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any, Final

from authz.values import Verdict

Scope = tuple[str, str, str]  # entry point, engine, revision
LARGEST_QUESTION: Final = 8192  # bytes; a larger one hardly comes twice, and 20,000 of them would fill memory
Landed = Verdict | None  # None: another revision answered
NO_SCOPE: Final[Scope] = ("", "", "")


class VerdictCache:
    """Least recently used: at most `size` verdicts of at most `ttl_s` seconds, none to a large question."""

    def __init__(self, size: int, ttl_s: float) -> None:
        self.hits = self.misses = self.evictions = 0
        self.scope: Scope = NO_SCOPE
        self._size = size
        self._ttl_s = ttl_s
        self._verdicts: OrderedDict[bytes, tuple[float, Verdict]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._verdicts)

    def serve(self, scope: Scope) -> None:
        """Serve `scope` from now on; what belongs to another one is dropped."""
        if scope != self.scope:
            self.scope = scope
            self._verdicts.clear()

    def get(self, scope: Scope, question: bytes, now: float) -> Verdict | None:
        """The verdict kept for exactly this, unless it is too old at `now` (monotonic seconds)."""
        kept = self._verdicts.get(question) if scope == self.scope else None
        if kept is not None and now < kept[0]:
            self._verdicts.move_to_end(question)
            self.hits += 1
            return kept[1]
        if kept is not None:
            del self._verdicts[question]
        self.misses += 1
        return None

    def put(self, scope: Scope, question: bytes, verdict: Verdict, now: float) -> None:
        """Keep `verdict`, unless it is of another scope than the one being served, or the question large."""
        if scope != self.scope or self._ttl_s <= 0 or len(question) > LARGEST_QUESTION:
            return
        self._verdicts[question] = (now + self._ttl_s, verdict)
        self._verdicts.move_to_end(question)
        self._bury(now)
        if len(self._verdicts) > self._size:
            self._verdicts.popitem(last=False)
            self.evictions += 1

    def _bury(self, now: float) -> None:
        """Drop dead ones faster than new ones come: questions that nobody asks twice would fill the cache."""
        for _ in range(2):
            if self._verdicts[next(iter(self._verdicts))][0] > now:
                return
            self._verdicts.popitem(last=False)


class Flights:
    """At most one flight per key; who asks while it is under way shares its end, also its error.

    The flight is a task of its own: a caller that is cancelled takes nobody with it.
    """

    def __init__(self) -> None:
        self.shared = 0
        self._tasks: dict[tuple[str, bytes], asyncio.Task[Landed]] = {}

    def join(self, key: tuple[str, bytes]) -> asyncio.Task[Landed] | None:
        """The flight under way for `key`, if there is one."""
        task = self._tasks.get(key)
        if task is not None:
            self.shared += 1
        return task

    def start(self, key: tuple[str, bytes], work: Coroutine[Any, Any, Landed]) -> asyncio.Task[Landed]:
        """Let `work` fly for everybody who joins until it ends."""
        task = asyncio.get_running_loop().create_task(work, name="policy question")
        self._tasks[key] = task

        def landed(done: asyncio.Task[Landed]) -> None:
            del self._tasks[key]
            if not done.cancelled():
                done.exception()  # seen, also when every caller has left

        task.add_done_callback(landed)
        return task

    async def stop(self) -> None:
        """Cancel what still flies."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
