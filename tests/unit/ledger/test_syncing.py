"""The sync thread: one request at a time, told in the loop, and a failure is the last word."""

from __future__ import annotations

import asyncio
import errno
import os
import threading

from authz.ledger.journal import Unsynced
from authz.ledger.syncing import SyncThread

ONE, TWO = Unsynced(1, (), named=False), Unsynced(2, (), named=False)


class Heard:
    """What the loop was told, and on which thread each thing ran."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []
        self.threads: dict[str, int] = {}
        self.again = asyncio.Event()

    def note(self, what: str, value: object) -> None:
        self.events.append((what, value))
        self.threads[what] = threading.get_ident()
        if what != "mark":
            self.again.set()

    def thread(self, make_durable: object = None) -> SyncThread:
        return SyncThread(
            make_durable or (lambda what: self.note_quietly(what)),  # type: ignore[arg-type]
            done=lambda what, seconds: self.note("done", (what.upto, seconds >= 0)),
            failed=lambda why: self.note("failed", why),
            mark=lambda why: self.note("mark", why),
        )

    def note_quietly(self, what: Unsynced) -> None:
        self.events.append(("sync", what.upto))


async def test_a_request_is_made_durable_and_then_told_in_the_loop() -> None:
    heard = Heard()
    thread = heard.thread()
    for what in (ONE, TWO):
        heard.again.clear()
        thread.request(what)
        assert thread.busy
        await heard.again.wait()
        assert not thread.busy
    thread.end()
    await thread.ended.wait()
    assert heard.events == [("sync", 1), ("done", (1, True)), ("sync", 2), ("done", (2, True))]
    assert heard.threads["done"] == threading.get_ident()


async def test_what_is_under_way_is_finished_before_the_end() -> None:
    heard = Heard()
    thread = heard.thread()
    thread.request(ONE)
    thread.end()
    await thread.ended.wait()
    assert heard.events == [("sync", 1), ("done", (1, True))]


async def test_a_fault_of_our_own_is_a_failure_too() -> None:
    heard = Heard()

    def fail(what: Unsynced) -> None:
        raise LookupError("no such thing")

    thread = heard.thread(fail)
    thread.request(ONE)
    await thread.ended.wait()
    why = "sync: LookupError('no such thing')"
    assert heard.events == [("mark", why), ("failed", why)] or heard.events == [
        ("failed", why),
        ("mark", why),
    ]


async def test_after_a_failure_the_loop_is_told_first_then_the_disk_and_nothing_is_synced_again() -> None:
    heard = Heard()
    told = threading.Event()

    def fail(what: Unsynced) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def mark(why: str) -> None:
        assert told.wait(30)  # the loop knows, however long the disk takes for this
        heard.note("mark", why)

    thread = SyncThread(
        fail,
        done=lambda what, seconds: heard.note("done", what),
        failed=lambda why: (heard.note("failed", why), told.set()),  # type: ignore[func-returns-value]
        mark=mark,
    )
    thread.request(ONE)
    await thread.ended.wait()
    assert heard.events == [("failed", "sync: Input/output error"), ("mark", "sync: Input/output error")]
    assert heard.threads["mark"] != heard.threads["failed"] == threading.get_ident()
    assert thread.busy  # so that nobody asks again
